#include "autoregressive/dropout.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/philox.h"

namespace lexel::ar {
namespace {

constexpr int64_t kPerBlock = 8;     // values of a Philox block: 16 bits each
constexpr int64_t kGrain = 1 << 12;  // blocks of a task

/// 0 where a value is dropped, 1 elsewhere.
template <class Value>
void fill_mask(Value* mask, int64_t count, uint32_t threshold, uint64_t seed, uint32_t purpose,
               uint64_t step) {
  const std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed),
                                       static_cast<uint32_t>(seed >> 32)};
  at::parallel_for(0, (count + kPerBlock - 1) / kPerBlock, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const auto words =
          philox4x32({static_cast<uint32_t>(block), purpose, static_cast<uint32_t>(step),
                      static_cast<uint32_t>(step >> 32)},
                     key);
      const int64_t first = block * kPerBlock, last = std::min(count, first + kPerBlock);
      for (int64_t i = first; i < last; ++i) {
        const int64_t j = i - first;
        const uint32_t bits = words[static_cast<size_t>(j / 2)] >> (16 * (j % 2)) & 0xFFFF;
        mask[i] = bits < threshold ? Value(0) : Value(1);
      }
    }
  });
}

}  // namespace

at::Tensor dropout(const at::Tensor& x, double rate, uint64_t seed, std::string_view site,
                   int64_t step) {
  const auto threshold = static_cast<uint32_t>(std::min(65535L, std::lround(rate * 65536.0)));
  if (threshold == 0) return x;
  const at::Tensor mask = at::empty(x.sizes(), x.scalar_type());
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "dropout", [&] {
    fill_mask(mask.data_ptr<scalar_t>(), mask.numel(), threshold, seed,
              static_cast<uint32_t>(fnv1a(site)), static_cast<uint64_t>(step));
  });
  // Apart from the mask, whose bfloat16 would round 1 / (1 - rate) by up to 0.4 %.
  return x * mask.to(x.device()) * (65536.0 / (65536.0 - threshold));
}

}  // namespace lexel::ar
