// One exponential and one division a value; bfloat16 is widened and rounded (to nearest, ties to even) in registers.

#include "kernels/cpu/gelu.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <cstddef>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gelu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef LEXEL_KERNELS_CPU_GELU_ONCE
#define LEXEL_KERNELS_CPU_GELU_ONCE
namespace lexel::kernels::cpu {

constexpr float kGeluLinear = 1.5957691216F;  // sqrt(8 / pi)
constexpr float kGeluCubic = kGeluLinear * 0.044715F;

}  // namespace lexel::kernels::cpu
#endif

#include <hwy/contrib/math/math-inl.h>  // once a target, so after foreach_target.h

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;
using Vector = hn::Vec<Lanes>;

HWY_INLINE Vector Load(const float* from) { return hn::LoadU(Lanes(), from); }
HWY_INLINE Vector Load(const uint16_t* from) {
  const hn::Rebind<uint16_t, Lanes> halves;
  const hn::Rebind<uint32_t, Lanes> words;
  return hn::BitCast(Lanes(), hn::ShiftLeft<16>(hn::PromoteTo(words, hn::LoadU(halves, from))));
}

HWY_INLINE void Store(Vector value, float* to) { hn::StoreU(value, Lanes(), to); }
HWY_INLINE void Store(Vector value, uint16_t* to) {
  const hn::Rebind<uint16_t, Lanes> halves;
  const hn::Rebind<uint32_t, Lanes> words;
  const auto bits = hn::BitCast(words, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(words, 0x7FFF)));
  const auto chosen =
      hn::IfThenElse(hn::RebindMask(words, hn::IsNaN(value)), hn::Set(words, 0x7FC00000), rounded);
  hn::StoreU(hn::TruncateTo(halves, hn::ShiftRight<16>(chosen)), halves, to);
}

/// 1 / (1 + e^-t). The exponential's argument is never positive, so it does not overflow.
HWY_INLINE Vector Sigmoid(Vector t) {
  const Lanes lanes;
  const Vector one = hn::Set(lanes, 1.0F);
  const Vector e = hn::Exp(lanes, hn::Max(hn::Set(lanes, -104.0F), hn::Neg(hn::Abs(t))));
  return hn::Div(hn::IfThenElse(hn::Lt(t, hn::Zero(lanes)), e, one), hn::Add(one, e));
}

HWY_INLINE Vector Gelu(Vector x) {
  const Lanes lanes;
  const Vector square = hn::Mul(x, x);
  const Vector slope = hn::MulAdd(hn::Set(lanes, kGeluCubic), square, hn::Set(lanes, kGeluLinear));
  return hn::Mul(x, Sigmoid(hn::Mul(slope, x)));
}

/// s + x s (1 - s) t', with t = kGeluLinear x + kGeluCubic x^3.
HWY_INLINE Vector GeluSlope(Vector x) {
  const Lanes lanes;
  // Past 100 the slope is 0 or 1, and squares of what is larger may overflow. A NaN stays one: it comes second.
  const Vector near = hn::IfThenElse(hn::Gt(hn::Abs(x), hn::Set(lanes, 100.0F)),
                                     hn::CopySign(hn::Set(lanes, 100.0F), x), x);
  const Vector square = hn::Mul(near, near), linear = hn::Set(lanes, kGeluLinear);
  const Vector s = Sigmoid(hn::Mul(near, hn::MulAdd(hn::Set(lanes, kGeluCubic), square, linear)));
  const Vector rise = hn::MulAdd(hn::Set(lanes, 3.0F * kGeluCubic), square, linear);
  return hn::MulAdd(hn::Mul(near, rise), hn::Mul(s, hn::Sub(hn::Set(lanes, 1.0F), s)), s);
}

template <class Value>
void ForwardRun(const Value* x, Value* y, int64_t count) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Lanes()));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) Store(Gelu(Load(x + i)), y + i);
  if (i == count) return;
  Value padded[hn::MaxLanes(Lanes())] = {};
  std::copy_n(x + i, count - i, padded);
  Store(Gelu(Load(padded)), padded);
  std::copy_n(padded, count - i, y + i);
}

template <class Value>
void BackwardRun(const Value* x, const Value* grad, Value* result, int64_t count) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Lanes()));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    Store(hn::Mul(Load(grad + i), GeluSlope(Load(x + i))), result + i);
  }
  if (i == count) return;
  Value padded[hn::MaxLanes(Lanes())] = {}, slopes[hn::MaxLanes(Lanes())] = {};
  std::copy_n(x + i, count - i, padded);
  std::copy_n(grad + i, count - i, slopes);
  Store(hn::Mul(Load(slopes), GeluSlope(Load(padded))), padded);
  std::copy_n(padded, count - i, result + i);
}

void Forward32(const float* x, float* y, int64_t count) { ForwardRun(x, y, count); }
void Forward16(const uint16_t* x, uint16_t* y, int64_t count) { ForwardRun(x, y, count); }
void Backward32(const float* x, const float* grad, float* result, int64_t count) {
  BackwardRun(x, grad, result, count);
}
void Backward16(const uint16_t* x, const uint16_t* grad, uint16_t* result, int64_t count) {
  BackwardRun(x, grad, result, count);
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {

HWY_EXPORT(Forward32);
HWY_EXPORT(Forward16);
HWY_EXPORT(Backward32);
HWY_EXPORT(Backward16);

namespace {

constexpr int64_t kGrain = 1 << 15;  // values of a task

template <class Value, class Run>
void in_runs(const void* x, void* y, int64_t count, const Run& run) {
  at::parallel_for(0, count, kGrain, [&](int64_t first, int64_t last) {
    run(static_cast<const Value*>(x) + first, static_cast<Value*>(y) + first, first, last - first);
  });
}

}  // namespace

void gelu(const void* x, void* y, int64_t count, bool bfloat16) {
  if (bfloat16) {
    in_runs<uint16_t>(x, y, count, [](const uint16_t* from, uint16_t* to, int64_t, int64_t number) {
      HWY_DYNAMIC_DISPATCH(Forward16)(from, to, number);
    });
  } else {
    in_runs<float>(x, y, count, [](const float* from, float* to, int64_t, int64_t number) {
      HWY_DYNAMIC_DISPATCH(Forward32)(from, to, number);
    });
  }
}

void gelu_backward(const void* x, const void* grad, void* result, int64_t count, bool bfloat16) {
  if (bfloat16) {
    const auto* const grads = static_cast<const uint16_t*>(grad);
    in_runs<uint16_t>(x, result, count,
                      [=](const uint16_t* from, uint16_t* to, int64_t first, int64_t number) {
                        HWY_DYNAMIC_DISPATCH(Backward16)(from, grads + first, to, number);
                      });
  } else {
    const auto* const grads = static_cast<const float*>(grad);
    in_runs<float>(x, result, count,
                   [=](const float* from, float* to, int64_t first, int64_t number) {
                     HWY_DYNAMIC_DISPATCH(Backward32)(from, grads + first, to, number);
                   });
  }
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
