#include "kernels/codebook_lookup.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/check.h"
#include "kernels/cpu/codebook_lookup.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels {
namespace {

constexpr int64_t kMaxWidth = 1024;
constexpr int64_t kMaxCodes = 262144;
constexpr int64_t kMaxTopK = 8;

/// Sizes of a call; num_books is C, or 1.
struct Sizes {
  int64_t num_books, num_rows, num_codes, width;
};

void check_allowed(const at::Tensor& rows, const at::Tensor& codes, const at::Tensor& allowed) {
  const char* const name = "codebook_lookup";
  check_arg(allowed.scalar_type() == at::kBool, name, "expected allowed of bool, got ",
            allowed.scalar_type());
  const auto all_but_width = codes.sizes().slice(0, codes.dim() - 1);
  check_arg(
      allowed.sizes() == all_but_width || allowed.sizes() == all_but_width.slice(codes.dim() - 2),
      name, "expected allowed (K) or (C, K), got ", allowed.sizes(), " for codes ", codes.sizes());
  check_arg(allowed.device() == rows.device(), name, "expected one device, got rows on ",
            rows.device(), " and allowed on ", allowed.device());
  check_arg(allowed.is_contiguous(), name, "expected contiguous tensors, got allowed of strides ",
            allowed.strides());
}

Sizes check_arguments(const at::Tensor& rows, const at::Tensor& codes,
                      const LookupOptions& options) {
  const char* const name = "codebook_lookup";
  check_arg(rows.defined() && codes.defined(), name, "expected two tensors, got an undefined one");
  check_arg(rows.scalar_type() == at::kFloat && codes.scalar_type() == at::kFloat, name,
            "expected float32, got rows ", rows.scalar_type(), " and codes ", codes.scalar_type());
  const int64_t rank = rows.dim();
  check_arg((rank == 2 || rank == 3) && codes.dim() == rank, name,
            "expected rows (N, D) and codes (K, D), or (C, N, D) and (C, K, D), got ", rows.sizes(),
            " and ", codes.sizes());
  check_arg(rank == 2 || rows.size(0) == codes.size(0), name,
            "expected one number of codebooks C, got rows ", rows.sizes(), " and codes ",
            codes.sizes());
  const Sizes sizes{rank == 2 ? 1 : rows.size(0), rows.size(rank - 2), codes.size(rank - 2),
                    rows.size(rank - 1)};
  check_arg(sizes.width == codes.size(rank - 1), name, "expected one width D, got rows ",
            rows.sizes(), " and codes ", codes.sizes());
  check_arg(sizes.width >= 1 && sizes.width <= kMaxWidth, name, "expected D in 1..", kMaxWidth,
            ", got ", sizes.width);
  check_arg(sizes.num_codes >= 1 && sizes.num_codes <= kMaxCodes, name, "expected K in 1..",
            kMaxCodes, ", got ", sizes.num_codes);
  check_arg(options.top_k >= 1 && options.top_k <= kMaxTopK, name, "expected top_k in 1..",
            kMaxTopK, ", got ", options.top_k);
  check_arg(rows.device() == codes.device(), name, "expected one device, got rows on ",
            rows.device(), " and codes on ", codes.device());
  check_arg(rows.is_cpu() || rows.is_cuda(), name, "expected a CPU or CUDA tensor, got one on ",
            rows.device());
  check_arg(rows.is_contiguous() && codes.is_contiguous(), name,
            "expected contiguous tensors, got strides ", rows.strides(), " and ", codes.strides());
  if (options.allowed.defined()) check_allowed(rows, codes, options.allowed);
  return sizes;
}

/// Results for these arguments: ids and score not yet written, counts zero.
CodebookMatch empty_match(const at::Tensor& rows, const at::Tensor& codes,
                          const LookupOptions& options) {
  std::vector<int64_t> shape = rows.sizes().vec();
  shape.pop_back();
  if (options.top_k > 1) shape.push_back(options.top_k);
  const auto long_options = rows.options().dtype(at::kLong);
  CodebookMatch match{at::empty(shape, long_options), at::empty(shape, rows.options()), {}};
  if (options.count) {
    match.counts = at::zeros(codes.sizes().slice(0, codes.dim() - 1), long_options);
  }
  return match;
}

/// Adds the best code of each row (ids and score (N, top_k)) to counts (K); rows without one have a NaN as score.
void count_ids(const int64_t* ids, const float* score, int64_t num_rows, int64_t top_k,
               int64_t* counts) {
  for (int64_t i = 0; i < num_rows; ++i) {
    if (!std::isnan(score[i * top_k])) ++counts[ids[i * top_k]];
  }
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

/// The reference for one codebook: ids and score (N, top_k), counts (K) or undefined.
void reference_book(const at::Tensor& rows, const at::Tensor& codes, const at::Tensor& allowed,
                    const LookupOptions& options, const CodebookMatch& match) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  at::Tensor hidden = at::isfinite(codes).all(1).logical_not_();  // (K)
  if (allowed.defined()) hidden.logical_or_(allowed.logical_not());
  const at::Tensor codes64 = codes.to(at::kDouble);
  const int64_t num_rows = rows.size(0);
  const int64_t chunk =
      std::max<int64_t>(1, (int64_t{1} << 19) / codes.size(0));  // 4 MiB of scores
  for (int64_t begin = 0; begin < num_rows; begin += chunk) {
    const int64_t end = std::min(num_rows, begin + chunk);
    const at::Tensor x = rows.slice(0, begin, end).to(at::kDouble);    // (n, D)
    at::Tensor scores = reference_scores(x, codes64, options.metric);  // (n, K)
    scores.masked_fill_(hidden.unsqueeze(0), -kInfinity);
    scores.masked_fill_(at::isfinite(x).all(1).logical_not_().unsqueeze(1), -kInfinity);
    for (int64_t place = 0; place < options.top_k; ++place) {
      const at::Tensor ids = scores.argmax(1, /*keepdim=*/true);  // (n, 1), the first of equals
      at::Tensor best = scores.gather(1, ids);                    // (n, 1)
      const at::Tensor none = best.eq(-kInfinity);
      if (options.metric == CodeMetric::kL2) best = best.neg();
      match.ids.slice(0, begin, end).select(1, place).copy_(ids.masked_fill(none, 0).squeeze(1));
      match.score.slice(0, begin, end)
          .select(1, place)
          .copy_(best.masked_fill(none, NAN).squeeze(1));
      scores.scatter_(1, ids, -kInfinity);
    }
  }
}

}  // namespace

CodebookMatch codebook_lookup(const at::Tensor& rows, const at::Tensor& codes, CodeMetric metric) {
  LookupOptions options;
  options.metric = metric;
  return codebook_lookup(rows, codes, options);
}

CodebookMatch codebook_lookup(const at::Tensor& rows, const at::Tensor& codes,
                              const LookupOptions& options) {
  const Sizes sizes = check_arguments(rows, codes, options);
  if (const CudaKernels* const cuda = cuda_kernels_for(rows)) {
    return cuda->codebook_lookup(rows, codes, options);
  }
  CodebookMatch match = empty_match(rows, codes, options);
  if (match.ids.numel() == 0) return match;
  const int64_t top_k = options.top_k;
  const bool* const allowed =
      options.allowed.defined() ? options.allowed.const_data_ptr<bool>() : nullptr;
  const int64_t allowed_step =
      options.allowed.defined() && options.allowed.dim() == 2 ? sizes.num_codes : 0;
  const float* const row_data = rows.const_data_ptr<float>();
  const float* const code_data = codes.const_data_ptr<float>();
  auto* const ids = match.ids.mutable_data_ptr<int64_t>();
  auto* const score = match.score.mutable_data_ptr<float>();
  int64_t* const counts = options.count ? match.counts.mutable_data_ptr<int64_t>() : nullptr;
  const auto look_up = [&](int64_t first, int64_t last) {
    for (int64_t book = first; book < last; ++book) {
      const int64_t results = book * sizes.num_rows * top_k;
      cpu::codebook_lookup({row_data + book * sizes.num_rows * sizes.width, sizes.num_rows,
                            code_data + book * sizes.num_codes * sizes.width, sizes.num_codes,
                            sizes.width, options.metric == CodeMetric::kL2, top_k,
                            allowed == nullptr ? nullptr : allowed + book * allowed_step,
                            ids + results, score + results});
      if (counts != nullptr) {
        count_ids(ids + results, score + results, sizes.num_rows, top_k,
                  counts + book * sizes.num_codes);
      }
    }
  };
  // Many codebooks: one a thread. Few: the threads share the work of each.
  if (sizes.num_books >= 2 * at::get_num_threads()) {
    at::parallel_for(0, sizes.num_books, 1, look_up);
  } else {
    look_up(0, sizes.num_books);
  }
  return match;
}

CodebookMatch codebook_lookup_reference(const at::Tensor& rows, const at::Tensor& codes,
                                        const LookupOptions& options) {
  const Sizes sizes = check_arguments(rows, codes, options);
  const at::NoGradGuard no_grad;
  CodebookMatch match = empty_match(rows, codes, options);
  const at::Tensor x = rows.view({sizes.num_books, sizes.num_rows, sizes.width});
  const at::Tensor c = codes.view({sizes.num_books, sizes.num_codes, sizes.width});
  const at::Tensor ids = match.ids.view({sizes.num_books, sizes.num_rows, options.top_k});
  const at::Tensor score = match.score.view(ids.sizes());
  for (int64_t book = 0; book < sizes.num_books; ++book) {
    const at::Tensor& allowed = options.allowed;
    reference_book(x[book], c[book],
                   allowed.defined() && allowed.dim() == 2 ? allowed[book] : allowed, options,
                   {ids[book], score[book], {}});
    if (!options.count) continue;
    const at::Tensor chosen =
        ids[book].select(1, 0).masked_select(score[book].select(1, 0).eq(score[book].select(1, 0)));
    match.counts.view({sizes.num_books, sizes.num_codes})[book].index_add_(0, chosen,
                                                                           at::ones_like(chosen));
  }
  return match;
}

}  // namespace lexel::kernels
