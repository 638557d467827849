#pragma once

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

#include "autoregressive/parallel/pipeline.h"
#include "autoregressive/parallel/stage_parameters.h"
#include "kernels/check.h"
#include "tests/autoregressive/tiny_model.h"
#include "tests/support/finite_difference.h"

namespace lexel::tests {

/// Eight decoder blocks, so that four stages have two rounds; with text four encoder blocks.
inline ar::Config deep_parti() {
  ar::Config config = tiny_parti();
  config.text_depth = 4;
  config.depth = 8;
  config.conv_layers = "3 6";
  return config;
}

inline ar::Config deep_vim() {
  ar::Config config = tiny_vim();
  config.depth = 8;
  config.conv_layers = "3 6";
  return config;
}

inline ar::Model fresh_double(const ar::Config& config) {
  ar::Model model = ar::make_model(config, 1, at::kCPU);
  fill_zeros(model);
  to_double(model);
  require_gradients(ar::parameters(model), true);
  return model;
}

inline ar::Lesson lesson(const ar::Config& config, int64_t rows, uint64_t seed = 1) {
  return {tiny_condition(config, rows, seed), tiny_tokens(config, rows, seed + 8), {}, {}};
}

inline at::Tensor loss_of(const ar::Model& model, const parallel::MicroBatch& part) {
  const auto& [given, options] = part;
  return ar::token_loss(model, given.condition, given.tokens, options, given.seen, given.places);
}

/// Losses and gradients of one rank that accumulates over the micro-batches.
struct Reference {
  std::vector<double> losses;
  std::map<std::string, at::Tensor> gradients;
};

inline Reference accumulate(ar::Model& model, const std::vector<parallel::MicroBatch>& parts) {
  Reference reference;
  const ParameterList list = ar::parameters(model);
  for (const Parameter& p : list) p.tensor->mutable_grad().reset();
  for (const parallel::MicroBatch& part : parts) {
    const at::Tensor loss = loss_of(model, part);
    (loss / static_cast<double>(parts.size())).backward();
    reference.losses.push_back(loss.item<double>());
  }
  for (const Parameter& p : list) {
    reference.gradients[p.name] = p.tensor->grad().clone();
    p.tensor->mutable_grad().reset();
  }
  return reference;
}

inline void expect_equal(const at::Tensor& losses, const ParameterList& held,
                         const Reference& expected, double tolerance) {
  for (size_t m = 0; m < expected.losses.size(); ++m) {
    EXPECT_NEAR(losses[static_cast<int64_t>(m)].item<double>(), expected.losses[m],
                tolerance * expected.losses[m]);
  }
  for (const Parameter& p : held) {
    ASSERT_TRUE(p.tensor->grad().defined()) << p.name;
    EXPECT_LT(relative_difference(p.tensor->grad(), expected.gradients.at(p.name)), tolerance)
        << p.name;
  }
}

/// The schedules on `stages` ranks: those of one round, and the circular one with two.
inline std::vector<std::pair<std::string, int64_t>> schedules() {
  return {{"gpipe", 1}, {"1f1b", 1}, {"circular", 2}};
}

inline parallel::MeshShape pipeline_of(int64_t stages) {
  return parallel::parse_mesh("pipeline=" + std::to_string(stages));
}

inline const ar::ForwardOptions kDouble{.compute = at::kDouble};

inline parallel::Plan plan_of(const ar::Config& config, int64_t stages, int64_t micro_batches,
                              const std::pair<std::string, int64_t>& schedule) {
  return parallel::even_plan(config, pipeline_of(stages), 2 * micro_batches, micro_batches,
                             schedule.first, schedule.second);
}

inline std::string describe(const parallel::Plan& plan) {
  return lexel::concat(to_text(plan.mesh), " M=", plan.micro_batches, " ", plan.schedule,
                       " R=", plan.rounds, plan.rematerialize ? " rematerialised" : "");
}

}  // namespace lexel::tests
