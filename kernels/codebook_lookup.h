#pragma once

#include <ATen/core/Tensor.h>

namespace lexel::kernels {

enum class CodeMetric {
  kCosine,  // largest dot product; the caller normalises rows and codes
  kL2,      // smallest squared Euclidean distance
};

struct CodebookMatch {
  at::Tensor ids;  // (N) int64, in [0, K)
  at::Tensor
      score;  // (N) float32: the dot product (kCosine) or the squared distance (kL2) of the winner
};

/// Nearest code of each row; the lowest index wins a tie. Memory is O(N), never O(N K).
/// A code that holds a NaN or an infinity is never chosen. A row that holds one, and every row where no code is
/// left, gets id 0 and score NaN. N = 0 gives empty results.
///
/// Sums are float32: where the two best codes differ by less than 2e-6 (|row| + |code|) |code|, either may
/// win; everywhere else the winner is that of the reference.
///
/// rows      (N, D) float32, contiguous, CPU or CUDA; D in 1..1024
/// codes     (K, D) float32, contiguous, same device; K in 1..262144
/// throws    Error(kUsage) on another dtype, rank, width, device or layout, or K out of range
/// source    van den Oord et al. 2017, arXiv:1711.00937, eq. 1; cosine form: Yu et al. 2021,
///           arXiv:2110.04627, section 3.2 (||l2(z) - l2(e)||^2 = 2 - 2 cos)
CodebookMatch codebook_lookup(const at::Tensor& rows, const at::Tensor& codes, CodeMetric metric);

/// The meaning of codebook_lookup: float64 throughout, chunked ATen; same arguments and results.
CodebookMatch codebook_lookup_reference(const at::Tensor& rows, const at::Tensor& codes,
                                        CodeMetric metric);

}  // namespace lexel::kernels
