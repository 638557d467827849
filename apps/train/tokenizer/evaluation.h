#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "apps/train/tokenizer/picture_pool.h"
#include "vqgan/model.h"

namespace lexel::train {

/// What a tokenizer must beat, mean PSNR over a set, dB: each patch its mean colour, and each patch the
/// nearest of as many raw patches as the codebook has codes.
struct Floor {
  double mosaic = 0.0;
  double kmeans = 0.0;
};

/// images   (n, 3, S, S) uint8
/// centres  (K, 3 P P) float32 in [0, 1], raw patches; undefined: no such floor, it is NaN
Floor floor_of(const at::Tensor& images, const at::Tensor& centres, int64_t patch_size);

struct SetResult {
  std::string name;
  int64_t pictures = 0;
  double psnr = 0.0;         // dB, mean over pictures
  double unquantized = 0.0;  // the same with latents in the place of codes: what the codes cost
};

struct Evaluation {
  std::vector<SetResult> sets;
  double usage = 0.0;       // share of codes that the held-out pictures use
  double perplexity = 0.0;  // exp of the entropy of their ids
  at::Tensor originals;     // (n, 3, S, S) float32: some of each set, spread over it
  at::Tensor reconstructions;
};

/// Runs the model over all held-out pictures, in batches, without gradient.
///
/// shown    pictures to keep for the sample grid, over all sets
Evaluation evaluate(const vqgan::Model& model, const std::vector<HeldOutSet>& sets,
                    at::ScalarType compute, at::Device device, int64_t shown);

/// The first `count` pictures side by side as PNG, written atomically.
void write_sample_strip(const std::string& path, const at::Tensor& pictures, int64_t count);

/// Rows of original | reconstruction pairs as one picture, written atomically as PNG.
void write_sample_grid(const std::string& path, const at::Tensor& originals,
                       const at::Tensor& reconstructions, int64_t pairs_per_row);

}  // namespace lexel::train
