// One AdamW step, 28 bytes of memory traffic a weight: 16 read, 12 written.

#include "kernels/cpu/adamw.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/adamw.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// One vector.
template <class D>
HWY_INLINE void UpdateVector(D d, const AdamWPart& part, const float* HWY_RESTRICT gradient,
                             float* HWY_RESTRICT weights, float* HWY_RESTRICT first_moment,
                             float* HWY_RESTRICT second_moment) {
  const auto g = hn::Mul(hn::LoadU(d, gradient), hn::Set(d, part.gradient_scale));
  const auto m = hn::MulAdd(hn::Set(d, part.one_minus_beta1), g,
                            hn::Mul(hn::Set(d, part.beta1), hn::LoadU(d, first_moment)));
  const auto v = hn::MulAdd(hn::Mul(hn::Set(d, part.one_minus_beta2), g), g,
                            hn::Mul(hn::Set(d, part.beta2), hn::LoadU(d, second_moment)));
  const auto root = hn::MulAdd(hn::Sqrt(v), hn::Set(d, part.correction), hn::Set(d, part.epsilon));
  const auto change = hn::Div(hn::Mul(hn::Set(d, part.rate), m), root);
  const auto w = hn::MulSub(hn::Set(d, part.keep), hn::LoadU(d, weights), change);
  hn::StoreU(m, d, first_moment);
  hn::StoreU(v, d, second_moment);
  hn::StoreU(w, d, weights);
}

/// Elements begin .. end-1 of a part.
void UpdateRange(const AdamWPart& arguments, int64_t begin, int64_t end) {
  const AdamWPart part = arguments;  // so that the stores cannot change it
  const hn::ScalableTag<float> d;
  constexpr int64_t kAhead = 256;  // floats: four streams are more than the hardware fetches well
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = begin;
  for (; i + lanes <= end; i += lanes) {
    hwy::Prefetch(part.gradient + i + kAhead);
    hwy::Prefetch(part.weights + i + kAhead);
    hwy::Prefetch(part.first_moment + i + kAhead);
    hwy::Prefetch(part.second_moment + i + kAhead);
    UpdateVector(d, part, part.gradient + i, part.weights + i, part.first_moment + i,
                 part.second_moment + i);
  }
  if (i == end) return;
  // The rest goes through a vector of its own, so that the bits do not depend on where a range ends.
  float rest[4][hn::MaxLanes(d)] = {};
  const auto count = static_cast<size_t>(end - i);
  std::copy_n(part.gradient + i, count, rest[0]);
  std::copy_n(part.weights + i, count, rest[1]);
  std::copy_n(part.first_moment + i, count, rest[2]);
  std::copy_n(part.second_moment + i, count, rest[3]);
  UpdateVector(d, part, rest[0], rest[1], rest[2], rest[3]);
  std::copy_n(rest[1], count, part.weights + i);
  std::copy_n(rest[2], count, part.first_moment + i);
  std::copy_n(rest[3], count, part.second_moment + i);
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {

HWY_EXPORT(UpdateRange);

void adamw(std::span<const AdamWPart> parts) {
  constexpr int64_t kChunk = 1 << 14;  // elements: what a thread takes at least
  // All elements in one row, so that the threads share small tensors too.
  std::vector<int64_t> first;  // element of each part
  int64_t total = 0;
  for (const AdamWPart& part : parts) {
    first.push_back(total);
    total += part.count;
  }
  at::parallel_for(0, total, kChunk, [&](int64_t begin, int64_t end) {
    auto i = static_cast<size_t>(std::upper_bound(first.begin(), first.end(), begin) -
                                 first.begin() - 1);
    for (; i < parts.size() && first[i] < end; ++i) {
      HWY_DYNAMIC_DISPATCH(UpdateRange)
      (parts[i], std::max(begin - first[i], int64_t{0}), std::min(end - first[i], parts[i].count));
    }
  });
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
