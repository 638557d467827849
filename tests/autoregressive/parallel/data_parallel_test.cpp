// Data parallelism with weight-update sharding, of whole models: against one rank that accumulates.
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "autoregressive/parallel/update_sharding.h"
#include "kernels/adamw.h"
#include "tests/autoregressive/parallel/pipeline_cases.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using namespace tests;  // NOLINT: cases and ranks

std::vector<at::Tensor> tensors_of(const ParameterList& list) {
  std::vector<at::Tensor> all;
  for (const Parameter& p : list) all.push_back(*p.tensor);
  return all;
}

class DataParallel : public testing::TestWithParam<int64_t> {};  // ranks

TEST_P(DataParallel, LossAndEveryGradientEqualOneRank) {
  const int64_t ranks = GetParam();
  for (const ar::Config& config : {tiny_parti(), tiny_vim()}) {
    const ar::ForwardOptions options{.compute = at::kDouble, .dropout = 0.1, .seed = 3, .step = 7};
    ar::Model whole = fresh_double(config);
    const auto parts = micro_batches(lesson(config, 2 * ranks), ranks, options);
    const Reference expected = accumulate(whole, parts);
    for (const auto cut : {UpdateSharding::Cut::kAnywhere, UpdateSharding::Cut::kTensorsWhole}) {
      on_mesh("data=" + std::to_string(ranks), [&](Mesh& mesh) {
        Group& group = mesh.along("data");
        ar::Model model = fresh_double(config);
        const ParameterList list = ar::parameters(model);
        UpdateSharding sharding(tensors_of(list), group, cut, /*bucket_bytes=*/4096);
        sharding.zero_gradients();
        sharding.overlap_next_backward();
        const at::Tensor loss = loss_of(model, parts[size_t(group.rank())]);
        loss.backward();
        sharding.reduce();
        const double one = expected.losses[size_t(group.rank())];
        EXPECT_NEAR(loss.item<double>(), one, 1e-10 * one);
        for (size_t i = 0; i < sharding.slices().size(); ++i) {
          const Slice& slice = sharding.slices()[i];
          const std::string& name = list[slice.tensor].name;
          const at::Tensor whole_gradient = expected.gradients.at(name).flatten();
          const double largest = whole_gradient.abs().max().item<double>();
          const at::Tensor difference =
              sharding.gradient(i).flatten() - whole_gradient.narrow(0, slice.begin, slice.length);
          EXPECT_LE(difference.abs().max().item<double>(), 1e-10 * largest) << name;
        }
      });
    }
  }
}

TEST_P(DataParallel, FiftyStepsInFloat32FollowThoseOfOneRank) {
  const int64_t ranks = GetParam(), steps = 50;
  const ar::Config config = tiny_parti();
  const auto parts_of = [&](int64_t step) {
    std::vector<MicroBatch> parts;
    for (int64_t m = 0; m < 4; ++m) {
      const int64_t number = step * 4 + m;
      parts.push_back({lesson(config, 2, uint64_t(100 + number % 12)),
                       {.dropout = 0.1, .seed = 4, .step = number}});
    }
    return parts;
  };
  /// Mean losses of all steps; ranks share a step's four passes.
  const auto run = [&](Group& group) {
    ar::Model model = ar::make_model(config, 1, at::kCPU);
    require_gradients(ar::parameters(model), true);
    UpdateSharding sharding(tensors_of(ar::parameters(model)), group,
                            UpdateSharding::Cut::kAnywhere, /*bucket_bytes=*/4096);
    std::vector<std::pair<at::Tensor, at::Tensor>> moments;
    for (size_t i = 0; i < sharding.slices().size(); ++i)
      moments.emplace_back(at::zeros_like(sharding.weights(i)),
                           at::zeros_like(sharding.weights(i)));
    std::vector<double> losses;
    for (int64_t step = 0; step < steps; ++step) {
      const auto parts = parts_of(step);
      const int64_t own = 4 / group.size();
      at::Tensor sum = at::zeros({}, at::kDouble);
      sharding.zero_gradients();
      for (int64_t m = 0; m < own; ++m) {
        if (m + 1 == own) sharding.overlap_next_backward();
        const at::Tensor loss = loss_of(model, parts[size_t(group.rank() * own + m)]);
        (loss / double(own)).backward();
        sum += loss.detach().to(at::kDouble) / 4.0;
      }
      sharding.reduce();
      {
        const at::NoGradGuard no_grad;
        for (size_t i = 0; i < moments.size(); ++i) {
          at::Tensor weights = sharding.weights(i);
          kernels::adamw_(weights, sharding.gradient(i), moments[i].first, moments[i].second,
                          {.learning_rate = 3e-3, .epsilon = 1e-5, .step = step + 1});
        }
      }
      sharding.share_weights();
      group.all_reduce(sum);
      losses.push_back(sum.item<double>());
    }
    return losses;
  };
  Group alone;
  const std::vector<double> expected = run(alone);
  EXPECT_LT(expected.back(), expected.front() - 0.1);  // it learns
  on_mesh("data=" + std::to_string(ranks), [&](Mesh& mesh) {
    const std::vector<double> losses = run(mesh.along("data"));
    for (int64_t step = 0; step < steps; ++step)
      EXPECT_NEAR(losses[size_t(step)], expected[size_t(step)], 1e-4) << step;
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, DataParallel, testing::Values(2, 4),
                         [](const testing::TestParamInfo<int64_t>& ranks) {
                           return std::to_string(ranks.param);
                         });

}  // namespace
}  // namespace lexel::parallel
