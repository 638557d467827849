#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lexel::train {

/// Which part of a whole tensor a rank's tensor is: the ranges [first, first + count) along `dim`, behind each other. No ranges:
/// all of it.
struct PartOfTensor {
  int64_t dim = 0;
  std::vector<std::pair<int64_t, int64_t>> ranges;  // first, count
};

/// Where a rank's tensor of a parameter lies in the whole one.
struct PlaceOfTensor {
  std::vector<int64_t> shape;  // of the whole
  PartOfTensor part;
  bool counts =
      true;  // false: another rank holds the same, and its values count (in norms) and are saved
  std::string axis;  // of the mesh, whose ranks hold the other parts; "": none does
};

/// Values of one tensor of a training's state that a rank holds: begin .. begin + numel of its part of the tensor, flattened. The
/// pieces of a name on all ranks together are the whole tensor, whatever the mesh.
struct StatePiece {
  std::string name;            // "weights/NAME", "first/NAME", ...
  std::vector<int64_t> shape;  // of the whole tensor
  PartOfTensor part;
  int64_t begin = 0;
  at::Tensor tensor;   // of any shape, contiguous, sharing storage with the run
  bool counts = true;  // false: another rank holds the same, and saves it
};

}  // namespace lexel::train
