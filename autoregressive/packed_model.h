#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "autoregressive/model.h"
#include "kernels/linear_decode.h"

namespace lexel::ar {

/// A linear map as a decode step reads it.
struct PackedLinear {
  kernels::DecodeWeights weight;
  at::Tensor bias;  // (out) float32
};

struct PackedBlock {
  PackedLinear qkv, out, cross_q, cross_out, up, down;
};

/// A generator laid out for drawing: the decoder's matrices rounded to `format` and packed for kernels::linear_decode. The text
/// encoder, the embeddings, norms and the cross-attention's key and value maps, which run once a caption, stay in `model`, whose
/// packed matrices are released.
struct PackedModel {
  Model model;
  kernels::WeightFormat format = kernels::WeightFormat::kInt8;
  std::vector<PackedBlock> blocks;
  PackedLinear softmax;
};

/// throws   Error(kUsage) when a size does not fit the kernels (named)
PackedModel pack(Model model, kernels::WeightFormat format);

/// The model that the packed one computes with: matrices float32, rounded. For tests and measurements.
Model unpack(const PackedModel& packed);

}  // namespace lexel::ar
