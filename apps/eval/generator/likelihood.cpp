#include "apps/eval/generator/likelihood.h"

#include <algorithm>

#include "kernels/check.h"

namespace lexel::eval {

std::vector<double> negative_log_likelihoods(const ar::Generator& generator,
                                             const ImageTokenizer& tokenizer,
                                             const at::Tensor& pictures,
                                             const std::vector<std::string>& captions,
                                             int64_t batch) {
  check_arg(generator.text != nullptr, "negative_log_likelihoods",
            "expected a generator that reads captions, got one without text");
  check_arg(pictures.dim() == 4 && pictures.size(0) == static_cast<int64_t>(captions.size()),
            "negative_log_likelihoods", "expected as many captions as pictures, got ",
            captions.size(), " and ", pictures.sizes());
  const at::Device device = generator.model.softmax.weight.device();
  std::vector<double> result;
  for (int64_t first = 0; first < pictures.size(0); first += batch) {
    const int64_t count = std::min(batch, pictures.size(0) - first);
    const EncodedCaptions text = encode_captions(
        *generator.text, {captions.begin() + first, captions.begin() + first + count},
        generator.model.config.max_text_tokens);
    ar::Condition condition;
    condition.text = text.ids.to(device);
    condition.lengths = text.lengths.to(device);
    const at::Tensor tokens = tokenizer.encode(pictures.narrow(0, first, count)).to(device);
    const at::Tensor surprise =
        ar::token_log_likelihoods(generator.model, condition, tokens)  // (B, N)
            .to(at::kCPU, at::kDouble)
            .mean(1)
            .neg();
    const double* values = surprise.const_data_ptr<double>();
    result.insert(result.end(), values, values + count);
  }
  return result;
}

}  // namespace lexel::eval
