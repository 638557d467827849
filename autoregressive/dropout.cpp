#include "autoregressive/dropout.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::ar {
namespace {

constexpr int64_t kPerBlock = 8;     // values of a Philox block: 16 bits each
constexpr int64_t kGrain = 1 << 12;  // blocks of a task

/// x as runs of values that lie behind each other in the larger tensor: run r of x, of `length` values, starts at place
/// first + (r / inner) outer_step + (r % inner) inner_step.
struct Runs {
  int64_t count = 1, length = 0;
  int64_t first = 0, inner = 1, outer_step = 0, inner_step = 0;
};

Runs runs_of(const at::Tensor& x, const DropoutPart& part) {
  if (x.dim() != 3) return {.length = x.numel()};
  const int64_t rows = x.size(0), tokens = x.size(1), channels = x.size(2);
  const int64_t all_tokens = part.tokens == 0 ? tokens : part.tokens;
  const int64_t all_channels = part.channels == 0 ? channels : part.channels;
  const int64_t row = all_tokens * all_channels;
  const int64_t first = part.first_row * row + part.first_token * all_channels + part.first_channel;
  if (channels != all_channels) {
    return {rows * tokens, channels, first, std::max<int64_t>(tokens, 1), row, all_channels};
  }
  if (tokens != all_tokens) return {rows, tokens * channels, first, 1, row, 0};
  return {.length = x.numel(), .first = first};
}

/// 0 where a value is dropped, 1 elsewhere; the run starts at `place`.
template <class Value>
void fill_run(Value* mask, int64_t count, int64_t place, uint32_t threshold, uint64_t seed,
              uint32_t purpose, uint64_t step) {
  const std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed),
                                       static_cast<uint32_t>(seed >> 32)};
  const int64_t first_block = place / kPerBlock;
  const int64_t last_block = (place + count + kPerBlock - 1) / kPerBlock;
  at::parallel_for(first_block, last_block, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const auto words =
          philox4x32({static_cast<uint32_t>(block), purpose, static_cast<uint32_t>(step),
                      static_cast<uint32_t>(step >> 32)},
                     key);
      const int64_t first = std::max(place, block * kPerBlock);
      const int64_t last = std::min(place + count, (block + 1) * kPerBlock);
      for (int64_t i = first; i < last; ++i) {
        const int64_t j = i - block * kPerBlock;
        const uint32_t bits = words[static_cast<size_t>(j / 2)] >> (16 * (j % 2)) & 0xFFFF;
        mask[i - place] = bits < threshold ? Value(0) : Value(1);
      }
    }
  });
}

template <class Value>
void fill_mask(Value* mask, const Runs& runs, uint32_t threshold, uint64_t seed, uint32_t purpose,
               uint64_t step) {
  const auto fill = [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t place =
          runs.first + r / runs.inner * runs.outer_step + r % runs.inner * runs.inner_step;
      fill_run(mask + r * runs.length, runs.length, place, threshold, seed, purpose, step);
    }
  };
  if (runs.count == 1) return fill(0, 1);  // its blocks are shared among threads
  const int64_t blocks = runs.length / kPerBlock + 1;
  at::parallel_for(0, runs.count, std::max<int64_t>(1, kGrain / blocks), fill);
}

}  // namespace

at::Tensor dropout(const at::Tensor& x, double rate, uint64_t seed, std::string_view site,
                   int64_t step, const DropoutPart& part) {
  const auto threshold = static_cast<uint32_t>(std::min(65535L, std::lround(rate * 65536.0)));
  if (threshold == 0) return x;
  const bool is_part = part.first_row != 0 || part.first_token != 0 || part.first_channel != 0 ||
                       part.tokens != 0 || part.channels != 0;
  check_arg(!is_part || x.dim() == 3, "ar::dropout", "expected a part (B, n, c), got ", x.sizes());
  const at::Tensor mask = at::empty(x.sizes(), x.scalar_type());
  const Runs runs = runs_of(x, part);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "dropout", [&] {
    fill_mask(mask.data_ptr<scalar_t>(), runs, threshold, seed, static_cast<uint32_t>(fnv1a(site)),
              static_cast<uint64_t>(step));
  });
  // Apart from the mask, whose bfloat16 would round 1 / (1 - rate) by up to 0.4 %.
  return x * mask.to(x.device()) * (65536.0 / (65536.0 - threshold));
}

}  // namespace lexel::ar
