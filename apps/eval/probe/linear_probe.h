#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace lexel::eval {

/// What a linear classifier sees of B pictures: numbers, or a few ones among many zeros. One of both is defined.
struct ProbeInputs {
  at::Tensor dense;   // (B, F) float32
  at::Tensor ones;    // (B, n) int64 in [0, F): which inputs are one (twice the same: two)
  int64_t width = 0;  // F

  int64_t count() const { return dense.defined() ? dense.size(0) : ones.size(0); }
  ProbeInputs narrow(int64_t first, int64_t count) const;
};

/// Softmax regression. Dense inputs are standardised with the mean and deviation of what it learnt from.
struct LinearProbe {
  at::Tensor weight;             // (F, C) float32
  at::Tensor bias;               // (C)
  at::Tensor mean, inverse_std;  // (F); undefined: inputs as they are
};

/// The minimum of mean cross entropy + decay / 2 |weight|^2, by L-BFGS from zeros: convex, so what it finds depends on
/// nothing else.
///
/// labels   (B) int64 in [0, classes)
/// throws   Error(kUsage) without pictures, or on shapes that do not fit
LinearProbe fit_probe(const ProbeInputs& inputs, const at::Tensor& labels, int64_t classes,
                      double decay);

/// The likeliest class of each picture: (B) int64.
at::Tensor predict(const LinearProbe& probe, const ProbeInputs& inputs);

/// Fits with the decay, of 1e-5 to 1e-1 in steps of ten, that does best on the last tenth of the pictures to learn from, then
/// with that on all of them.
struct ChosenProbe {
  LinearProbe probe;
  double decay = 0.0;
};
ChosenProbe choose_probe(const ProbeInputs& inputs, const at::Tensor& labels, int64_t classes);

}  // namespace lexel::eval
