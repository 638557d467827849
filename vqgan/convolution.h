#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/parameters.h"

namespace lexel::vqgan {

/// A 3x3 convolution, padded with zeros to keep the size.
struct Conv {
  at::Tensor weight;  // (out, in, 3, 3)
  at::Tensor bias;    // (out)
};

/// x + second(gelu(first(x))), where `second` starts at zero.
struct ResidualBlock {
  Conv first, second;
};

/// The convolutions that look across patch borders: in -> residual blocks -> gelu [-> out].
struct ConvStage {
  Conv in;
  std::vector<ResidualBlock> blocks;
  Conv out;  // of the decoder's stage only
};

void list_conv(const std::string& name, Conv& conv, int64_t outputs, int64_t inputs, bool zero,
               const std::string& group, ParameterList& list);
void list_residual_blocks(const std::string& name, std::vector<ResidualBlock>& blocks,
                          int64_t depth, int64_t width, const std::string& group,
                          ParameterList& list);

/// (B, C, h, w), channels-last for speed, in x's dtype.
at::Tensor apply_conv(const Conv& conv, const at::Tensor& x);
at::Tensor run_residual_blocks(const std::vector<ResidualBlock>& blocks, at::Tensor x);

}  // namespace lexel::vqgan
