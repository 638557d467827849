#include "kernels/cuda/codebook_lookup.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <vector>

#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {

CodebookMatch codebook_lookup(const at::Tensor& rows, const at::Tensor& codes,
                              const LookupOptions& options) {
  const OnDevice device(rows);
  std::vector<int64_t> shape = rows.sizes().vec();
  shape.pop_back();
  if (options.top_k > 1) shape.push_back(options.top_k);
  const auto code_shape = codes.sizes().slice(0, codes.dim() - 1);  // (K) or (C, K)
  const auto long_options = rows.options().dtype(at::kLong);
  CodebookMatch match{at::empty(shape, long_options), at::empty(shape, rows.options()), {}};
  if (options.count) match.counts = at::zeros(code_shape, long_options);
  const at::Tensor bias = at::empty(code_shape, rows.options());

  CodebookLookupArguments arguments{};
  arguments.rows = rows.const_data_ptr<float>();
  arguments.codes = codes.const_data_ptr<float>();
  arguments.num_books = rows.dim() == 3 ? rows.size(0) : 1;
  arguments.num_rows = rows.size(-2);
  arguments.num_codes = codes.size(-2);
  arguments.width = rows.size(-1);
  if (options.allowed.defined()) {
    arguments.allowed = options.allowed.const_data_ptr<bool>();
    arguments.allowed_step = options.allowed.dim() == 2 ? arguments.num_codes : 0;
  }
  arguments.l2 = options.metric == CodeMetric::kL2;
  arguments.top_k = options.top_k;
  arguments.bias = bias.mutable_data_ptr<float>();
  arguments.ids = match.ids.mutable_data_ptr<int64_t>();
  arguments.score = match.score.mutable_data_ptr<float>();
  if (options.count) arguments.counts = match.counts.mutable_data_ptr<int64_t>();
  launch_codebook_lookup(arguments, device.stream());
  return match;
}

}  // namespace lexel::kernels::cuda
