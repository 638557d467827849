#pragma once

#include <ATen/core/Tensor.h>

namespace lexel::kernels {

enum class CodeMetric {
  kCosine,  // largest dot product; the caller normalises rows and codes
  kL2,      // smallest squared Euclidean distance
};

struct LookupOptions {
  CodeMetric metric = CodeMetric::kCosine;
  int64_t top_k = 1;   // 1..8: the so many best codes of each row, best first
  bool count = false;  // also count how often each code is the best
  at::Tensor
      allowed;  // (K) or (C, K) bool, contiguous: false hides a code. Undefined: all may be chosen
};

struct CodebookMatch {
  at::Tensor ids;    // (N), (C, N), or with top_k > 1 (N, k), (C, N, k); int64 in [0, K)
  at::Tensor score;  // same shape, float32: the dot product (kCosine) or the squared distance (kL2)
  at::Tensor counts;  // (K) or (C, K) int64; only if asked for
};

/// Nearest code of each row, or the top_k nearest; of equal codes the lowest index comes first. Memory beside the
/// results is a few MiB, whatever N and K. A code that is hidden, or holds a NaN or an infinity, is never chosen. A row
/// that holds one, and every row where no code is left, gets id 0 and score NaN, and is not counted; so do the places of
/// top_k that no code is left for. N = 0 gives empty results and counts of zero.
///
/// Sums are float32: where two codes differ by less than 2e-6 (|row| + |code|) |code|, either may come first;
/// everywhere else the order is that of the reference. Products beyond float32's range give ids in [0, K) and nothing
/// more. A row's result depends on no other row, and not on the number of threads.
///
/// rows      (N, D), or (C, N, D) for C independent codebooks; float32, contiguous, CPU or CUDA; D in 1..1024
/// codes     (K, D), or (C, K, D), float32, contiguous, same device; K in 1..262144; C as in rows
/// throws    Error(kUsage) on another dtype, rank, width, device or layout, or K or top_k out of range
/// source    van den Oord et al. 2017, arXiv:1711.00937, eq. 1; cosine form: Yu et al. 2021,
///           arXiv:2110.04627, section 3.2 (||l2(z) - l2(e)||^2 = 2 - 2 cos)
CodebookMatch codebook_lookup(const at::Tensor& rows, const at::Tensor& codes,
                              const LookupOptions& options);

/// The same with the metric alone.
CodebookMatch codebook_lookup(const at::Tensor& rows, const at::Tensor& codes, CodeMetric metric);

/// The meaning of codebook_lookup: float64 throughout, chunked ATen; same arguments and results.
CodebookMatch codebook_lookup_reference(const at::Tensor& rows, const at::Tensor& codes,
                                        const LookupOptions& options);

}  // namespace lexel::kernels
