#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "apps/train/state_piece.h"
#include "autoregressive/parallel/group.h"
#include "kernels/adafactor.h"

namespace lexel::train {

/// Where Adafactor's factors and scales of one rank's part of a tensor lie in those of the whole.
struct FactorPlaces {
  kernels::AdafactorWhole whole;  // rows and columns of the whole matrix
  bool by_rows = false;           // of a part: it is some of the rows, not of the columns
  PlaceOfTensor rows, columns;    // (R), (C)
  PlaceOfTensor scales;  // of int8: (R, C / 128) where that divides, else (ceil(R C / 128))
};

/// Of a tensor that is cut along its first dimension, the ranges of a stack of matrices behind each other, or along its last.
///
/// name    of the tensor, for messages
/// place   of this rank's part
/// rank    on the axis along which it is cut: a factor that all its ranks hold counts on the first
/// int8    the first moment has scales
/// throws  Error(kUnsupported) naming axis and tensor where a cut falls between weights that share a scale
FactorPlaces factor_places(const std::string& name, const PlaceOfTensor& place, int64_t rank,
                           bool int8);

/// One tensor's update.
struct AdafactorUpdate {
  at::Tensor weights;
  at::Tensor gradient;  // undefined: none, on any rank
  kernels::AdafactorState* state = nullptr;
  const FactorPlaces* places = nullptr;
  kernels::AdafactorOptions options;
};

/// Updates of tensors of which each rank of the group holds a part, as kernels::adafactor_ on the whole. All ranks call it with the same
/// tensors in the same order. Two all-reduces for all of them: sums of squares (8 bytes a row of those that are cut by columns, and a
/// column of those cut by rows), then two numbers a tensor.
///
/// throws  what a collective throws
void update_cut_tensors(const std::vector<AdafactorUpdate>& updates, parallel::Group& group);

}  // namespace lexel::train
