#include "autoregressive/extract_task.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "autoregressive/decode.h"
#include "autoregressive/packed_model.h"
#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"

namespace lexel::ar {
namespace {

using tests::expect_error;
using tests::relative_difference;

Model by_task(const std::string& activation) {
  Config config = tests::tiny_experts("task");
  config.activation = activation;
  Model model = make_model(config, 1, at::kCPU);
  tests::fill_zeros(model);
  return model;
}

TEST(TaskModel, GivesTheLogitsOfTheWholeModelForItsTask) {
  for (const char* const activation : {"gelu", "relu", "geglu"}) {
    Model model = by_task(activation);
    Condition condition = tests::tiny_condition(model.config, 3);
    const at::Tensor tokens = tests::tiny_tokens(model.config, 3);
    for (int64_t task = 0; task < 3; ++task) {
      condition.tasks = at::full({3}, task, at::kLong);
      Condition without = condition;
      without.tasks = at::Tensor();
      Model part = task_model(model, task);
      EXPECT_LT(
          relative_difference(logits(part, without, tokens), logits(model, condition, tokens)),
          1e-6);
      // In float64 what is left is the order of sums.
      Model wide = model;
      tests::to_double(wide);
      Model wide_part = task_model(wide, task);
      ForwardOptions options;
      options.compute = at::kDouble;
      EXPECT_LT(relative_difference(logits(wide_part, without, tokens, options),
                                    logits(wide, condition, tokens, options)),
                1e-13);
      const PackedModel packed = pack(part, kernels::WeightFormat::kFloat32);
      Decoder decoder(packed, 3, at::kFloat);
      EXPECT_LT(relative_difference(decoder.start(without, tokens.slice(1, 0, 9)),
                                    logits(model, condition, tokens).select(1, 9)),
                3e-6);
    }
  }
}

TEST(TaskModel, HoldsTwoExpertsALayerAndNoRouter) {
  Model model = by_task("gelu");
  Model part = task_model(model, 1);
  EXPECT_EQ(part.config.experts, 2);
  EXPECT_EQ(part.config.routing, "static");
  Model layout = model_layout(part.config);
  EXPECT_EQ(parameter_count(parameters(part)), parameter_count(parameters(layout)));
  // Two layers give up two of four experts, router and embeddings of tasks for biases.
  const int64_t d = 16, f = 24;
  EXPECT_EQ(parameter_count(parameters(model)) - parameter_count(parameters(part)),
            2 * (2 * 2 * d * f + (4 + 3) * d - 2 * f - d));
  for (const Parameter& p : parameters(part)) {
    EXPECT_EQ(p.tensor->sizes(), at::IntArrayRef(p.shape)) << p.name;
    EXPECT_EQ(p.name.find("router"), std::string::npos);
  }
}

TEST(TaskModel, RefusesModelsAndTasksThatCannotBe) {
  const Model model = by_task("gelu");
  const auto refused = [](const std::string& words, auto&& call) {
    expect_error(ErrorKind::kUsage, words, call);
  };
  refused("expected a task in 0 to 2, got 3", [&] { task_model(model, 3); });
  refused("expected a task in 0 to 2, got -1", [&] { task_model(model, -1); });
  refused("routed by task, got one without experts",
          [] { task_model(make_model(tests::tiny_parti(), 1, at::kCPU), 0); });
  refused("routed by task, got routing token",
          [] { task_model(make_model(tests::tiny_experts(), 1, at::kCPU), 0); });
  refused("routed by task, got routing static", [&] { task_model(task_model(model, 0), 0); });
}

}  // namespace
}  // namespace lexel::ar
