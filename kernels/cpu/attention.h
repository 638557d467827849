#pragma once

#include <ATen/core/Tensor.h>
#include <string>

#include "kernels/attention_mask.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels::cpu {

/// attention on checked CPU tensors that are not empty.
AttentionForward attention_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const AttentionMask& mask, const at::Tensor& key_mask);

/// Its gradients, by what the forward pass kept; each (B, H or G, N or M, d), laid out as (B, N or M, H or G, d).
AttentionGradients attention_backward(const at::Tensor& grad, const at::Tensor& q,
                                      const at::Tensor& k, const at::Tensor& v,
                                      const AttentionForward& forward, const AttentionMask& mask,
                                      const at::Tensor& key_mask);

/// What attention runs on this CPU, for people.
std::string attention_path();

}  // namespace lexel::kernels::cpu
