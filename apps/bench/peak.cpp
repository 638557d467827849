#include "apps/bench/peak.h"

#include <benchmark/benchmark.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "apps/bench/peak.cpp"
// Arrays of vectors need types with a size (kernels/cpu/codebook_lookup.cpp).
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace lexel::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;
using Vector = hn::Vec<Lanes>;
// Latency 4 and two units need 8 chains in flight; more hide neighbours' noise, and fit 16 registers.
constexpr int kChains = 12;

HWY_INLINE Vector Sum(const Vector (&values)[kChains]) {
  Vector sum = values[0];
  for (int i = 1; i < kChains; ++i) sum = hn::Add(sum, values[i]);
  return sum;
}

double MultiplyAdds(int64_t steps) {
  const Lanes lanes;
  Vector chains[kChains];
  HWY_UNROLL(12)
  for (int i = 0; i < kChains; ++i) chains[i] = hn::Set(lanes, 1.0F + static_cast<float>(i));
  const Vector factor = hn::Set(lanes, 0.999F), term = hn::Set(lanes, 1e-3F);
  for (int64_t step = 0; step < steps; ++step) {
    HWY_UNROLL(12)
    for (int i = 0; i < kChains; ++i) chains[i] = hn::MulAdd(chains[i], factor, term);
  }
  benchmark::DoNotOptimize(hn::GetLane(Sum(chains)));
  return 2.0 * kChains * static_cast<double>(hn::Lanes(lanes)) * static_cast<double>(steps);
}

void ReadFloats(const float* HWY_RESTRICT data, int64_t n) {
  const Lanes lanes;
  const auto width = static_cast<int64_t>(hn::Lanes(lanes));
  Vector sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = hn::Zero(lanes);
  for (int64_t at = 0; at + kChains * width <= n; at += kChains * width) {
    HWY_UNROLL(12)
    for (int i = 0; i < kChains; ++i)
      sums[i] = hn::Add(sums[i], hn::LoadU(lanes, data + at + i * width));
  }
  benchmark::DoNotOptimize(hn::GetLane(Sum(sums)));
}

void UpdateFloats(float* HWY_RESTRICT a, float* HWY_RESTRICT b, float* HWY_RESTRICT c,
                  const float* HWY_RESTRICT change, int64_t n) {
  const Lanes lanes;
  const auto width = static_cast<int64_t>(hn::Lanes(lanes));
  for (int64_t at = 0; at + width <= n; at += width) {
    const Vector term = hn::LoadU(lanes, change + at);
    for (float* const x : {a, b, c}) {
      hn::StoreU(hn::Add(hn::LoadU(lanes, x + at), term), lanes, x + at);
    }
  }
}

}  // namespace lexel::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::bench {

HWY_EXPORT(MultiplyAdds);
HWY_EXPORT(ReadFloats);
HWY_EXPORT(UpdateFloats);

double spin_multiply_adds(int64_t steps) { return HWY_DYNAMIC_DISPATCH(MultiplyAdds)(steps); }
void read_floats(const float* data, int64_t n) { HWY_DYNAMIC_DISPATCH(ReadFloats)(data, n); }

void update_floats(float* a, float* b, float* c, const float* change, int64_t n) {
  HWY_DYNAMIC_DISPATCH(UpdateFloats)(a, b, c, change, n);
}

}  // namespace lexel::bench
#endif
