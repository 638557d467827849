#include "vqgan/convolution.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/gelu.h>
#include <cmath>

namespace lexel::vqgan {

void list_conv(const std::string& name, Conv& conv, int64_t outputs, int64_t inputs, bool zero,
               const std::string& group, ParameterList& list) {
  const double std = 1.0 / std::sqrt(3.0 * 9.0 * static_cast<double>(inputs));
  list.push_back({name + ".weight",
                  {outputs, inputs, 3, 3},
                  zero ? Init::zeros() : Init::normal(std),
                  &conv.weight,
                  group});
  list.push_back({name + ".bias", {outputs}, Init::zeros(), &conv.bias, group, /*decay=*/false});
}

void list_residual_blocks(const std::string& name, std::vector<ResidualBlock>& blocks,
                          int64_t depth, int64_t width, const std::string& group,
                          ParameterList& list) {
  blocks.resize(static_cast<size_t>(depth));
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string block = name + "." + std::to_string(i);
    list_conv(block + ".first", blocks[i].first, width, width, /*zero=*/false, group, list);
    list_conv(block + ".second", blocks[i].second, width, width, /*zero=*/true, group, list);
  }
}

at::Tensor apply_conv(const Conv& conv, const at::Tensor& x) {
  const auto weight = conv.weight.to(x.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
  return at::conv2d(x.contiguous(at::MemoryFormat::ChannelsLast), weight,
                    conv.bias.to(x.scalar_type()), /*stride=*/1, /*padding=*/1);
}

at::Tensor run_residual_blocks(const std::vector<ResidualBlock>& blocks, at::Tensor x) {
  for (const ResidualBlock& block : blocks) {
    x = x + apply_conv(block.second, at::gelu(apply_conv(block.first, x), "tanh"));
  }
  return x;
}

}  // namespace lexel::vqgan
