#include "apps/train/generator/expert_use.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include "autoregressive/expert_layer.h"
#include "kernels/check.h"

namespace lexel::train {

at::Tensor use_entropies(const std::vector<ar::ExpertRecord>& records, parallel::Group& stages,
                         at::Device device) {
  const auto passes = static_cast<int64_t>(records.size());
  // Sums over this stage's layers, and how many these are, in one go.
  at::Tensor sums = at::zeros({2, passes}, at::TensorOptions(at::kDouble).device(device));
  for (int64_t i = 0; i < passes; ++i) {
    const ar::ExpertRecord& record = records[static_cast<size_t>(i)];
    if (record.chosen.empty()) continue;
    const auto layers = static_cast<double>(record.chosen.size());
    sums[0][i] = ar::use_entropy(record) * layers;
    sums[1][i] = layers;
  }
  stages.all_reduce(sums);
  check_arg(passes == 0 || sums[1].min().item<double>() > 0, "use_entropies",
            "expected layers of experts, got none");
  return sums[0] / sums[1];
}

}  // namespace lexel::train
