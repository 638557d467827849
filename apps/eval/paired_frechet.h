#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

namespace lexel::eval {

/// Frechet distance between the features of pictures and of their reconstructions, over any choice of the
/// pairs: made for the bootstrap. With N pairs of width D it works on N x N products that are computed once,
/// so that a resample costs an N x N singular value decomposition instead of one of D x D:
/// tr (C1^1/2 C2 C1^1/2)^1/2 = ||X1 X2^T||_* / (N - 1) for centred features X1, X2 (both sides hold the
/// same non-zero eigenvalues).
class PairedFrechet {
 public:
  /// a, b   (N, D) floating point, N >= 2; row k of both belongs to picture k
  /// throws Error(kUsage) on other shapes
  PairedFrechet(const at::Tensor& a, const at::Tensor& b);

  /// The distance over these pairs (indices 0 .. N-1, some of them several times).
  double distance(const std::vector<int64_t>& pairs) const;

 private:
  at::Tensor aa_, bb_, ab_;  // (N, N) float64: products of rows
};

}  // namespace lexel::eval
