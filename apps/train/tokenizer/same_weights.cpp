#include "apps/train/tokenizer/same_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <algorithm>

#include "kernels/check.h"

namespace lexel::train {
namespace {

constexpr int64_t kBlock = 1 << 20;  // values: bounds the memory beside the weights

/// Of the bits of float32 values: a sum modulo 2^64 in which each has a factor of its place.
at::Tensor checksum(const at::Tensor& weights) {
  const at::Tensor bits = weights.detach().contiguous().view(at::kInt).flatten();
  at::Tensor sum = at::zeros({}, bits.options().dtype(at::kLong));
  for (int64_t begin = 0; begin < bits.numel(); begin += kBlock) {
    const at::Tensor block =
        bits.narrow(0, begin, std::min(kBlock, bits.numel() - begin)).to(at::kLong);
    const at::Tensor places = at::arange(begin, begin + block.numel(), block.options());
    sum += (block * (places % 1000003 + 1)).sum();
  }
  return sum;
}

}  // namespace

std::map<std::string, at::Tensor> weights_of_all_ranks(const TrainingState& state) {
  if (!state.stacks) return {{"quantizer.codebook", state.model.quantizer.codebook.detach()}};
  // parameters() lists what may be written
  auto weights = named_tensors(vqgan::parameters(const_cast<vqgan::Model&>(state.model)));
  std::erase_if(weights, [&](const auto& named) { return state.stacks->is_split(named.first); });
  return weights;
}

void check_same_weights(parallel::Mesh& mesh, const std::map<std::string, at::Tensor>& weights,
                        int64_t step) {
  if (mesh.world().size == 1) return;
  const at::NoGradGuard no_grad;
  at::Tensor low = at::zeros({static_cast<int64_t>(weights.size())},
                             at::TensorOptions(mesh.everyone().device()).dtype(at::kLong));
  int64_t i = 0;
  for (const auto& [name, tensor] : weights) low[i++] = checksum(tensor);
  at::Tensor high = low.clone();
  mesh.everyone().all_reduce(low, parallel::Reduce::kMin);
  mesh.everyone().all_reduce(high, parallel::Reduce::kMax);
  i = 0;
  for (const auto& [name, tensor] : weights) {
    check(low[i].equal(high[i]), ErrorKind::kInternal, "step ", step, ": ", name,
          " is not the same on all ranks");
    ++i;
  }
}

}  // namespace lexel::train
