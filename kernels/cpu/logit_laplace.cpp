// Two logarithms, an exponential and a few products for each value, in one pass: ln x' - ln(1 - x') is the logit, and their sum
// the constant. Highway's Log is within 4 units in the last place, its Exp within 1.

#include "kernels/cpu/logit_laplace.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <cstddef>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/logit_laplace.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef LEXEL_KERNELS_CPU_LOGIT_LAPLACE_ONCE
#define LEXEL_KERNELS_CPU_LOGIT_LAPLACE_ONCE
namespace lexel::kernels::cpu {

/// A run of values of one picture, at most kLaplaceRun.
struct LaplaceRun {
  const float* mu;
  const float* log_b;
  const float* images;
  int64_t count;
  float gradient_scale;  // 1 / number of values of all pictures
  float* mu_gradient;    // null: not wanted
  float* log_b_gradient;
};
constexpr int64_t kLaplaceRun = 4096;

}  // namespace lexel::kernels::cpu
#endif

#include <hwy/contrib/math/math-inl.h>  // once a target, so after foreach_target.h

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;
using Vector = hn::Vec<Lanes>;

/// The terms of one vector; the gradients, unless the run wants none.
HWY_INLINE Vector Terms(const float* HWY_RESTRICT mu, const float* HWY_RESTRICT log_b,
                        const float* HWY_RESTRICT images, float scale, float* mu_gradient,
                        float* log_b_gradient) {
  const Lanes d;
  const auto one = hn::Set(d, 1.0F);
  const auto image = hn::LoadU(d, images);
  const auto clamped = hn::Min(one, hn::Max(hn::Zero(d), image));
  const auto x = hn::MulAdd(clamped, hn::Set(d, 0.8F), hn::Set(d, 0.1F));
  const auto log_x = hn::Log(d, x), log_rest = hn::Log(d, hn::Sub(one, x));
  const auto ln_b = hn::LoadU(d, log_b);
  const auto inverse_b = hn::Exp(d, hn::Min(hn::Set(d, 104.0F), hn::Neg(ln_b)));  // its range
  const auto difference = hn::Sub(hn::Sub(log_x, log_rest), hn::LoadU(d, mu));
  const auto distance = hn::Mul(hn::Abs(difference), inverse_b);
  if (mu_gradient) {
    const auto slope =
        hn::IfThenElseZero(hn::Ne(difference, hn::Zero(d)), hn::CopySign(inverse_b, difference));
    hn::StoreU(hn::Mul(slope, hn::Set(d, -scale)), d, mu_gradient);
    hn::StoreU(hn::Mul(hn::Sub(one, distance), hn::Set(d, scale)), d, log_b_gradient);
  }
  const auto constant = hn::Add(hn::Add(log_x, log_rest), hn::Set(d, 0.69314718F));
  const auto nan = hn::IfThenElseZero(hn::IsNaN(image), image);  // clamping and Log lose it
  return hn::Add(hn::Add(distance, ln_b), hn::Add(constant, nan));
}

/// Sum of the terms of a run.
double SumRun(const LaplaceRun& run) {
  constexpr int64_t kSteps = 32;  // vectors that are added in float32
  const Lanes d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN float values[hn::MaxLanes(d)];
  double total = 0.0;
  int64_t i = 0;
  const auto at = [](float* p, int64_t place) { return p ? p + place : nullptr; };
  while (i + lanes <= run.count) {
    const int64_t end = std::min(run.count - lanes + 1, i + kSteps * lanes);
    auto sum = hn::Zero(d);
    for (; i < end; i += lanes) {
      sum = hn::Add(sum, Terms(run.mu + i, run.log_b + i, run.images + i, run.gradient_scale,
                               at(run.mu_gradient, i), at(run.log_b_gradient, i)));
    }
    hn::Store(sum, d, values);
    for (int64_t j = 0; j < lanes; ++j) total += double{values[j]};
  }
  if (i == run.count) return total;
  const auto rest = static_cast<size_t>(run.count - i);
  float padded[5][hn::MaxLanes(d)] = {};
  std::copy_n(run.mu + i, rest, padded[0]);
  std::copy_n(run.log_b + i, rest, padded[1]);
  std::copy_n(run.images + i, rest, padded[2]);
  hn::Store(Terms(padded[0], padded[1], padded[2], run.gradient_scale, padded[3], padded[4]), d,
            values);
  for (size_t j = 0; j < rest; ++j) total += double{values[j]};
  if (run.mu_gradient) {
    std::copy_n(padded[3], rest, run.mu_gradient + i);
    std::copy_n(padded[4], rest, run.log_b_gradient + i);
  }
  return total;
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {

HWY_EXPORT(SumRun);

float logit_laplace(const float* maps, const float* images, int64_t pictures, int64_t values,
                    float* gradient) {
  const int64_t runs = (values + kLaplaceRun - 1) / kLaplaceRun;  // of a picture
  const double scale = 1.0 / (static_cast<double>(pictures) * static_cast<double>(values));
  std::vector<double> sums(static_cast<size_t>(pictures * runs));
  at::parallel_for(0, pictures * runs, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t picture = i / runs, begin = i % runs * kLaplaceRun;
      const float* const mu = maps + 2 * picture * values + begin;
      float* const mu_gradient = gradient ? gradient + 2 * picture * values + begin : nullptr;
      sums[static_cast<size_t>(i)] = HWY_DYNAMIC_DISPATCH(SumRun)(
          {mu, mu + values, images + picture * values + begin,
           std::min(kLaplaceRun, values - begin), static_cast<float>(scale), mu_gradient,
           gradient ? mu_gradient + values : nullptr});
    }
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return static_cast<float>(total * scale);
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
