#include "kernels/cuda/codebook_lookup.h"

#include <ATen/ops/empty.h>

#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {

CodebookMatch codebook_lookup(const at::Tensor& rows, const at::Tensor& codes,
                              const LookupOptions& options) {
  const OnDevice device(rows);
  CodebookMatch match{at::empty({rows.size(0)}, rows.options().dtype(at::kLong)),
                      at::empty({rows.size(0)}, rows.options()),
                      {}};
  const at::Tensor bias = at::empty({codes.size(0)}, rows.options());  // (K)
  launch_codebook_lookup(
      {rows.const_data_ptr<float>(), codes.const_data_ptr<float>(), rows.size(0), codes.size(0),
       rows.size(1), options.metric == CodeMetric::kL2, bias.mutable_data_ptr<float>(),
       match.ids.mutable_data_ptr<int64_t>(), match.score.mutable_data_ptr<float>()},
      device.stream());
  return match;
}

}  // namespace lexel::kernels::cuda
