#include "kernels/sampling.h"

#include <ATen/ops/empty.h>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/check.h"
#include "kernels/cpu/sampling.h"
#include "kernels/cuda/table.h"
#include "kernels/sampling_arithmetic.h"
#include "kernels/sampling_rule.h"

namespace lexel::kernels {
namespace {

constexpr int64_t kMaxVocabulary = int64_t{1} << 20;
constexpr int64_t kMaxPosition = (int64_t{1} << 32) - 1;
constexpr const char* kName = "sample";

bool finite_float(double value) { return std::isfinite(static_cast<float>(value)); }

void check_numbers(const char* what, const at::Tensor& tensor, const at::Tensor& logits) {
  check_arg(tensor.defined(), kName, "expected ", what, ", got an undefined tensor");
  check_arg(tensor.scalar_type() == at::kLong, kName, "expected ", what, " as int64, got ",
            tensor.scalar_type());
  check_arg(tensor.sizes() == at::IntArrayRef({logits.size(0)}), kName, "expected ", what,
            " of shape [", logits.size(0), "], got ", tensor.sizes());
  check_arg(tensor.device() == logits.device(), kName, "expected one device, got logits on ",
            logits.device(), " and ", what, " on ", tensor.device());
  check_arg(tensor.is_contiguous(), kName, "expected contiguous ", what, ", got strides ",
            tensor.strides());
}

void check_logits(const char* what, const at::Tensor& logits) {
  check_arg(logits.defined(), kName, "expected ", what, ", got an undefined tensor");
  check_arg(logits.scalar_type() == at::kFloat, kName, "expected ", what, " as float32, got ",
            logits.scalar_type());
  check_arg(logits.dim() == 2, kName, "expected ", what, " (B, V), got ", logits.sizes());
  check_arg(logits.size(1) >= 1 && logits.size(1) <= kMaxVocabulary, kName, "expected V in 1..",
            kMaxVocabulary, ", got ", logits.size(1));
  check_arg(logits.is_cpu() || logits.is_cuda(), kName, "expected a CPU or CUDA tensor, got ", what,
            " on ", logits.device());
  check_arg(logits.is_contiguous(), kName, "expected contiguous ", what, ", got strides ",
            logits.strides());
}

void check_arguments(const at::Tensor& logits, const at::Tensor& unconditional,
                     const at::Tensor& pictures, const at::Tensor& positions,
                     const SamplingOptions& options) {
  check_logits("logits", logits);
  if (unconditional.defined()) {
    check_logits("unconditional logits", unconditional);
    check_arg(unconditional.sizes() == logits.sizes(), kName,
              "expected unconditional logits of shape ", logits.sizes(), ", got ",
              unconditional.sizes());
    check_arg(unconditional.device() == logits.device(), kName,
              "expected one device, got logits on ", logits.device(), " and unconditional on ",
              unconditional.device());
  }
  check_numbers("pictures", pictures, logits);
  check_numbers("positions", positions, logits);
  check_arg(finite_float(options.guidance), kName,
            "expected a guidance that is finite in float32, got ", options.guidance);
  check_arg(finite_float(options.temperature) && options.temperature >= 0.0, kName,
            "expected a temperature >= 0 that is finite in float32, got ", options.temperature);
  check_arg(options.top_k >= 0 && options.top_k <= logits.size(1), kName, "expected top_k in 0..",
            logits.size(1), ", got ", options.top_k);
  check_arg(options.top_p > 0.0 && options.top_p <= 1.0, kName,
            "expected top_p above 0 and at most 1, got ", options.top_p);
}

void check_positions(const at::Tensor& positions) {
  const int64_t* const values = positions.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < positions.numel(); ++i) {
    check_arg(values[i] >= 0 && values[i] <= kMaxPosition, kName, "expected positions in 0..",
              kMaxPosition, ", got ", values[i]);
  }
}

struct Draw {
  int64_t id;
  float log_probability;
};

Draw reference_row(const float* conditional, const float* unconditional, int64_t vocabulary,
                   int64_t picture, int64_t position, const SamplingRule& rule) {
  std::vector<float> guided(static_cast<size_t>(vocabulary));
  std::vector<size_t> kept;  // likeliest first, the lower index first of equals
  for (size_t i = 0; i < guided.size(); ++i) {
    guided[i] =
        finite_or_never(rule.guided ? guided_logit(conditional[i], unconditional[i], rule.guidance)
                                    : conditional[i]);
    if (guided[i] != kNeverDrawn) kept.push_back(i);
  }
  if (kept.empty()) return {0, kNoProbability};
  std::stable_sort(kept.begin(), kept.end(),
                   [&](size_t a, size_t b) { return guided[a] > guided[b]; });
  const float largest = guided[kept[0]];
  if (rule.inverse_temperature == 0.0F) return {static_cast<int64_t>(kept[0]), 0.0F};

  const auto weight = [&](size_t i) {
    return token_weight(guided[i] - largest, rule.inverse_temperature);
  };
  const auto sum = [&] {
    return std::accumulate(kept.begin(), kept.end(), uint64_t{0},
                           [&](uint64_t total, size_t i) { return total + weight(i); });
  };
  kept.resize(std::min(kept.size(), static_cast<size_t>(rule.top_k)));
  if (rule.top_p < 1.0) {
    const uint64_t threshold = top_p_threshold(sum(), rule.top_p);
    size_t count = 0;
    for (uint64_t reached = 0; reached < threshold; ++count) reached += weight(kept[count]);
    kept.resize(count);
  }
  const uint64_t total = sum(), target = draw_below(total, rule.seed, picture, position);
  std::sort(kept.begin(), kept.end());
  uint64_t reached = 0;
  for (const size_t i : kept) {
    reached += weight(i);
    if (reached > target) return {static_cast<int64_t>(i), log_probability(weight(i), total)};
  }
  fail(ErrorKind::kInternal, "sample: no token at ", target, " of ", total);
}

Drawn empty_result(const at::Tensor& logits) {
  return {at::empty({logits.size(0)}, logits.options().dtype(at::kLong)),
          at::empty({logits.size(0)}, logits.options())};
}

}  // namespace

Drawn sample(const at::Tensor& logits, const at::Tensor& unconditional, const at::Tensor& pictures,
             const at::Tensor& positions, const SamplingOptions& options) {
  check_arguments(logits, unconditional, pictures, positions, options);
  if (const CudaKernels* const cuda = cuda_kernels_for(logits)) {
    return cuda->sample(logits, unconditional, pictures, positions, options);
  }
  check_positions(positions);
  Drawn drawn = empty_result(logits);
  cpu::sample(
      {logits.const_data_ptr<float>(),
       unconditional.defined() ? unconditional.const_data_ptr<float>() : nullptr,
       pictures.const_data_ptr<int64_t>(), positions.const_data_ptr<int64_t>(), logits.size(0),
       logits.size(1), sampling_rule(options, unconditional.defined(), logits.size(1)),
       drawn.ids.mutable_data_ptr<int64_t>(), drawn.log_probabilities.mutable_data_ptr<float>()});
  return drawn;
}

Drawn sample_reference(const at::Tensor& logits, const at::Tensor& unconditional,
                       const at::Tensor& pictures, const at::Tensor& positions,
                       const SamplingOptions& options) {
  check_arguments(logits, unconditional, pictures, positions, options);
  const at::Tensor conditional = logits.cpu(), picture = pictures.cpu(), position = positions.cpu();
  const at::Tensor other = unconditional.defined() ? unconditional.cpu() : conditional;
  check_positions(position);
  const int64_t vocabulary = logits.size(1);
  const SamplingRule rule = sampling_rule(options, unconditional.defined(), vocabulary);
  Drawn drawn = empty_result(conditional);
  for (int64_t row = 0; row < logits.size(0); ++row) {
    const auto [id, log] = reference_row(conditional.const_data_ptr<float>() + row * vocabulary,
                                         other.const_data_ptr<float>() + row * vocabulary,
                                         vocabulary, picture.const_data_ptr<int64_t>()[row],
                                         position.const_data_ptr<int64_t>()[row], rule);
    drawn.ids.mutable_data_ptr<int64_t>()[row] = id;
    drawn.log_probabilities.mutable_data_ptr<float>()[row] = log;
  }
  return {drawn.ids.to(logits.device()), drawn.log_probabilities.to(logits.device())};
}

}  // namespace lexel::kernels
