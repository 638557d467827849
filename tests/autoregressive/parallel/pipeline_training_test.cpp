// Fifty steps of AdamW in float32: a pipeline against one rank that accumulates.
#include <ATen/ops/zeros_like.h>

#include "kernels/adamw.h"
#include "tests/autoregressive/parallel/pipeline_cases.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using namespace tests;  // NOLINT: cases and ranks

constexpr int64_t kSteps = 50, kMicroBatches = 4, kRows = 2;

/// AdamW over the parameters that a rank holds.
class Optimizer {
 public:
  explicit Optimizer(ParameterList list) : list_(std::move(list)) {
    for (const Parameter& p : list_) {
      moments_.emplace_back(at::zeros_like(*p.tensor), at::zeros_like(*p.tensor));
    }
  }

  void step() {
    const at::NoGradGuard no_grad;
    ++count_;
    for (size_t i = 0; i < list_.size(); ++i) {
      at::Tensor& weights = *list_[i].tensor;
      // The bias of keys moves no softmax: its gradient is rounding alone, which a small epsilon
      // would blow up to whole steps.
      kernels::adamw_(weights, weights.grad(), moments_[i].first, moments_[i].second,
                      {.learning_rate = 3e-3, .epsilon = 1e-5, .step = count_});
      weights.mutable_grad().reset();
    }
  }

 private:
  ParameterList list_;
  std::vector<std::pair<at::Tensor, at::Tensor>> moments_;
  int64_t count_ = 0;
};

/// Half as deep as deep_parti() and deep_vim().
ar::Config half(ar::Config config) {
  config.text_depth /= 2;
  config.depth /= 2;
  config.conv_layers = "3";
  return config;
}

ar::Model fresh(const ar::Config& config) {
  ar::Model model = ar::make_model(config, 1, at::kCPU);
  require_gradients(ar::parameters(model), true);
  return model;
}

/// Parts of a step, as a trainer numbers them.
std::vector<MicroBatch> parts_of(const ar::Config& config, int64_t step) {
  std::vector<MicroBatch> parts;
  for (int64_t m = 0; m < kMicroBatches; ++m) {
    const int64_t number = step * kMicroBatches + m;
    parts.push_back({lesson(config, kRows, static_cast<uint64_t>(100 + number % 12)),
                     {.dropout = 0.1, .seed = 4, .step = number}});
  }
  return parts;
}

struct Case {
  const char* name;
  ar::Config config;
  int64_t ranks;
  std::string schedule;
  int64_t rounds;
  bool rematerialize;
};

class PipelineTrainingTest : public testing::TestWithParam<Case> {};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

TEST_P(PipelineTrainingTest, FiftyStepsEqualThoseOfOneRank) {
  const auto& [name, config, ranks, schedule, rounds, rematerialize] = GetParam();
  ar::Model whole = fresh(config);
  Optimizer optimizer(ar::parameters(whole));
  std::vector<double> expected;
  for (int64_t step = 0; step < kSteps; ++step) {
    double sum = 0.0;
    for (const MicroBatch& part : parts_of(config, step)) {
      const at::Tensor loss = loss_of(whole, part);
      (loss / static_cast<double>(kMicroBatches)).backward();
      sum += loss.item<double>() / kMicroBatches;
    }
    expected.push_back(sum);
    optimizer.step();
  }
  EXPECT_LT(expected.back(), expected.front() - 0.1);  // it learns
  std::map<std::string, at::Tensor> weights;
  for (const Parameter& p : ar::parameters(whole)) weights[p.name] = p.tensor->detach();

  Plan plan =
      even_plan(config, pipeline_of(ranks), kRows * kMicroBatches, kMicroBatches, schedule, rounds);
  plan.rematerialize = rematerialize;
  on_mesh("pipeline=" + std::to_string(ranks), [&](Mesh& mesh) {
    Group& group = mesh.along("pipeline");
    ar::Model model = make_stage(config, plan, group.rank(), 1, at::kCPU);
    const ParameterList held = stage_parameters(model, plan, group.rank());
    require_gradients(held, true);
    Optimizer own(held);
    Pipeline pipeline(group, config, plan);
    for (int64_t step = 0; step < kSteps; ++step) {
      const at::Tensor losses = pipeline.train(model, parts_of(config, step));
      own.step();
      // Float32 sums in another order, and 50 steps in which a difference can grow.
      ASSERT_NEAR(losses.mean().item<double>(), expected[size_t(step)], 1e-4) << step;
    }
    for (const Parameter& p : held) {
      EXPECT_LT(relative_difference(p.tensor->detach(), weights.at(p.name)), 1e-3) << p.name;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(
    Cases, PipelineTrainingTest,
    testing::Values(Case{"PartiGpipe", half(deep_parti()), 2, "gpipe", 1, true},
                    Case{"PartiCircular", half(deep_parti()), 2, "circular", 2, false},
                    Case{"VimOneForwardOneBackward", half(deep_vim()), 4, "1f1b", 1, false}),
    [](const testing::TestParamInfo<Case>& c) { return std::string(c.param.name); });

}  // namespace
}  // namespace lexel::parallel
