#include "kernels/cuda/sampling.h"

#include <ATen/ops/empty.h>

#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"
#include "kernels/sampling_rule.h"

namespace lexel::kernels::cuda {

Drawn sample(const at::Tensor& logits, const at::Tensor& unconditional, const at::Tensor& pictures,
             const at::Tensor& positions, const SamplingOptions& options) {
  const OnDevice device(logits);
  const int64_t rows = logits.size(0), vocabulary = logits.size(1);
  Drawn drawn{at::empty({rows}, logits.options().dtype(at::kLong)),
              at::empty({rows}, logits.options())};
  at::Tensor scratch;
  if (vocabulary > kSharedVocabulary) {
    scratch = at::empty({rows, (vocabulary + 3) / 4 * 4}, logits.options());
  }
  launch_sample(
      {logits.const_data_ptr<float>(),
       unconditional.defined() ? unconditional.const_data_ptr<float>() : nullptr,
       pictures.const_data_ptr<int64_t>(), positions.const_data_ptr<int64_t>(), rows, vocabulary,
       sampling_rule(options, unconditional.defined(), vocabulary),
       scratch.defined() ? scratch.mutable_data_ptr<float>() : nullptr,
       drawn.ids.mutable_data_ptr<int64_t>(), drawn.log_probabilities.mutable_data_ptr<float>()},
      device.stream());
  return drawn;
}

}  // namespace lexel::kernels::cuda
