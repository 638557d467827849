#include "kernels/codebook_lookup.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <limits>

#include "kernels/check.h"
#include "kernels/cpu/codebook_lookup.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels {
namespace {

constexpr int64_t kMaxWidth = 1024;
constexpr int64_t kMaxCodes = 262144;

void check_arguments(const at::Tensor& rows, const at::Tensor& codes) {
  const char* const name = "codebook_lookup";
  check_arg(rows.defined() && codes.defined(), name, "expected two tensors, got an undefined one");
  check_arg(rows.scalar_type() == at::kFloat && codes.scalar_type() == at::kFloat, name,
            "expected float32, got rows ", rows.scalar_type(), " and codes ", codes.scalar_type());
  check_arg(rows.dim() == 2 && codes.dim() == 2, name,
            "expected rows (N, D) and codes (K, D), got ", rows.sizes(), " and ", codes.sizes());
  check_arg(rows.size(1) == codes.size(1), name, "expected one width D, got rows ", rows.sizes(),
            " and codes ", codes.sizes());
  check_arg(rows.size(1) >= 1 && rows.size(1) <= kMaxWidth, name, "expected D in 1..", kMaxWidth,
            ", got ", rows.size(1));
  check_arg(codes.size(0) >= 1 && codes.size(0) <= kMaxCodes, name, "expected K in 1..", kMaxCodes,
            ", got ", codes.size(0));
  check_arg(rows.device() == codes.device(), name, "expected one device, got rows on ",
            rows.device(), " and codes on ", codes.device());
  check_arg(rows.is_cpu() || rows.is_cuda(), name, "expected a CPU or CUDA tensor, got one on ",
            rows.device());
  check_arg(rows.is_contiguous() && codes.is_contiguous(), name,
            "expected contiguous tensors, got strides ", rows.strides(), " and ", codes.strides());
}

/// (n, K) float64: dot products or negative squared distances. Term by term, because equal codes must get equal
/// scores whatever their place, which a blocked matrix product does not promise.
at::Tensor reference_scores(const at::Tensor& rows, const at::Tensor& codes, CodeMetric metric) {
  at::Tensor scores = at::zeros({rows.size(0), codes.size(0)}, rows.options());  // (n, K)
  for (int64_t d = 0; d < rows.size(1); ++d) {
    const at::Tensor x = rows.select(1, d).unsqueeze(1);   // (n, 1)
    const at::Tensor c = codes.select(1, d).unsqueeze(0);  // (1, K)
    if (metric == CodeMetric::kCosine) {
      scores.addcmul_(x, c);
    } else {
      scores.sub_(x.sub(c).square_());
    }
  }
  return scores;
}

}  // namespace

CodebookMatch codebook_lookup(const at::Tensor& rows, const at::Tensor& codes, CodeMetric metric) {
  LookupOptions options;
  options.metric = metric;
  return codebook_lookup(rows, codes, options);
}

CodebookMatch codebook_lookup(const at::Tensor& rows, const at::Tensor& codes,
                              const LookupOptions& options) {
  check_arguments(rows, codes);
  if (const CudaKernels* const cuda = cuda_kernels_for(rows)) {
    return cuda->codebook_lookup(rows, codes, options);
  }
  CodebookMatch match{at::empty({rows.size(0)}, rows.options().dtype(at::kLong)),
                      at::empty({rows.size(0)}, rows.options()),
                      {}};
  if (rows.size(0) == 0) return match;
  const bool l2 = options.metric == CodeMetric::kL2;
  cpu::codebook_lookup(rows.const_data_ptr<float>(), rows.size(0), codes.const_data_ptr<float>(),
                       codes.size(0), rows.size(1), l2, match.ids.mutable_data_ptr<int64_t>(),
                       match.score.mutable_data_ptr<float>());
  return match;
}

CodebookMatch codebook_lookup_reference(const at::Tensor& rows, const at::Tensor& codes,
                                        const LookupOptions& options) {
  check_arguments(rows, codes);
  const CodeMetric metric = options.metric;
  const at::NoGradGuard no_grad;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const int64_t num_rows = rows.size(0);
  CodebookMatch match{at::empty({num_rows}, rows.options().dtype(at::kLong)),
                      at::empty({num_rows}, rows.options()),
                      {}};
  const at::Tensor bad_codes = at::isfinite(codes).all(1).logical_not_();  // (K)
  const at::Tensor codes64 = codes.to(at::kDouble);
  const int64_t chunk =
      std::max<int64_t>(1, (int64_t{1} << 19) / codes.size(0));  // 4 MiB of scores
  for (int64_t begin = 0; begin < num_rows; begin += chunk) {
    const int64_t end = std::min(num_rows, begin + chunk);
    const at::Tensor x = rows.slice(0, begin, end).to(at::kDouble);  // (n, D)
    at::Tensor scores = reference_scores(x, codes64, metric);        // (n, K)
    scores.masked_fill_(bad_codes.unsqueeze(0), -kInfinity);
    const at::Tensor bad_rows = at::isfinite(x).all(1).logical_not_();  // (n)
    const at::Tensor ids = scores.argmax(1).masked_fill_(bad_rows, 0);  // (n), the first of equals
    at::Tensor best = scores.gather(1, ids.unsqueeze(1)).squeeze(1);    // (n)
    if (metric == CodeMetric::kL2) best = best.neg();
    best.masked_fill_(bad_rows.logical_or(at::isfinite(best).logical_not_()), NAN);
    match.ids.slice(0, begin, end).copy_(ids);
    match.score.slice(0, begin, end).copy_(best);
  }
  return match;
}

}  // namespace lexel::kernels
