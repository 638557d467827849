#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autoregressive/parallel/pipeline.h"
#include "autoregressive/parallel/sharded_model.h"
#include "autoregressive/parallel/sharded_runner.h"
#include "autoregressive/parallel/stage_parameters.h"
#include "autoregressive/parallel/update_sharding.h"
#include "kernels/adamw.h"
#include "tests/support/random_tensor.h"

// Steps of training without a trainer around them: forward, backward and AdamW of random pictures, on one rank or as a rank of two.

namespace lexel::tests {

/// How a model lies on ranks along one axis.
struct Layout {
  std::string mesh;
  int64_t micro_batches = 1;
  std::string schedule = "gpipe";
  int64_t rounds = 1;
  std::string residual = "replicate";
};

inline parallel::Plan plan_of(const ar::Config& config, const Layout& layout, int64_t pictures) {
  parallel::Plan plan = parallel::even_plan(config, parallel::parse_mesh(layout.mesh), pictures,
                                            layout.micro_batches, layout.schedule, layout.rounds);
  plan.residual = layout.residual;
  return plan;
}

/// Captions of 8 to max_text_tokens pieces and pictures.
inline ar::Lesson random_lesson(const ar::Config& config, int64_t rows) {
  ar::Lesson lesson;
  lesson.condition.text = random_ids(1, {rows, config.max_text_tokens}, config.text_vocabulary);
  lesson.condition.lengths = random_ids(2, {rows}, config.max_text_tokens - 8) + 8;
  lesson.tokens =
      random_ids(3, {rows, config.grid_height * config.grid_width}, config.codebook_size);
  return lesson;
}

/// AdamW of tensors that a rank updates by itself.
class PlainAdamW {
 public:
  explicit PlainAdamW(std::vector<at::Tensor> weights) : weights_(std::move(weights)) {
    for (const at::Tensor& w : weights_)
      moments_.emplace_back(at::zeros_like(w.detach()), at::zeros_like(w.detach()));
  }
  void step(const std::function<at::Tensor(size_t)>& gradient) {
    const at::NoGradGuard no_grad;
    std::vector<kernels::AdamWUpdate> updates;
    ++count_;
    for (size_t i = 0; i < weights_.size(); ++i)
      updates.push_back({weights_[i].detach(),
                         gradient(i).contiguous(),
                         moments_[i].first,
                         moments_[i].second,
                         {.learning_rate = 1e-4, .step = count_}});
    kernels::adamw_(updates);
  }
  /// From the weights' own gradients, which are freed.
  void step_own() {
    step([&](size_t i) { return weights_[i].grad(); });
    for (at::Tensor& w : weights_) w.mutable_grad().reset();
  }

 private:
  std::vector<at::Tensor> weights_;
  std::vector<std::pair<at::Tensor, at::Tensor>> moments_;
  int64_t count_ = 0;
};

inline std::vector<at::Tensor> tensors_of(const ParameterList& list) {
  std::vector<at::Tensor> all;
  for (const Parameter& p : list) all.push_back(*p.tensor);
  return all;
}

inline std::function<void()> start_alone(const ar::Config& config, int64_t parts, int64_t pictures,
                                         const ar::ForwardOptions& forward) {
  const auto model = std::make_shared<ar::Model>(ar::make_model(config, 1, at::kCPU));
  require_gradients(ar::parameters(*model), true);
  const auto optimizer = std::make_shared<PlainAdamW>(tensors_of(ar::parameters(*model)));
  const auto given = parallel::micro_batches(random_lesson(config, pictures), parts, forward);
  return [=] {
    for (const auto& [lesson, options] : given) {
      const auto loss = ar::token_loss(*model, lesson.condition, lesson.tokens, options);
      (loss / static_cast<double>(parts)).backward();
    }
    optimizer->step_own();
  };
}

inline std::function<void()> start_pipeline(
    const ar::Config& config, const parallel::Plan& plan, parallel::Mesh& mesh,
    const ar::ForwardOptions& forward,
    const std::function<void(const parallel::Pipeline&)>& after_step) {
  parallel::Group& group = mesh.along("pipeline");
  const auto model =
      std::make_shared<ar::Model>(parallel::make_stage(config, plan, group.rank(), 1, at::kCPU));
  const ParameterList held = parallel::stage_parameters(*model, plan, group.rank());
  require_gradients(held, true);
  const auto optimizer = std::make_shared<PlainAdamW>(tensors_of(held));
  const auto pipeline = std::make_shared<parallel::Pipeline>(group, config, plan);
  const auto given =
      parallel::micro_batches(random_lesson(config, plan.batch), plan.micro_batches, forward);
  return [=] {
    (void)pipeline->train(*model, given);
    optimizer->step_own();
    if (after_step) after_step(*pipeline);
  };
}

inline std::function<void()> start_tensor(const ar::Config& config, const parallel::Plan& plan,
                                          parallel::Mesh& mesh, ar::ForwardOptions forward) {
  const parallel::Sharding sharding = parallel::sharding_of(config, plan);
  const auto runner = std::make_shared<parallel::ShardedRunner>(sharding, mesh);
  forward.runner = runner.get();
  const auto model = std::make_shared<ar::Model>(ar::model_layout(config));
  for (const Parameter& p : ar::parameters(*model)) {  // one whole tensor at a time
    ar::initialise_part(*model, {p}, 1, at::kCPU);
    *p.tensor =
        parallel::cut(*p.tensor, p.name, sharding, mesh.coordinate(sharding.weight(p.name).axis));
  }
  const ParameterList own = parallel::local_parameters(*model, sharding);
  require_gradients(own, true);
  const auto optimizer = std::make_shared<PlainAdamW>(tensors_of(own));
  const ar::Lesson lesson = random_lesson(config, plan.batch);
  return [=] {
    (void)runner;  // outlives the pass
    ar::token_loss(*model, lesson.condition, lesson.tokens, forward).backward();
    optimizer->step_own();
  };
}

inline std::function<void()> start_data(const ar::Config& config, int64_t pictures,
                                        parallel::Mesh& mesh, const ar::ForwardOptions& forward) {
  parallel::Group& group = mesh.along("data");
  const auto model = std::make_shared<ar::Model>(ar::make_model(config, 1, at::kCPU));
  require_gradients(ar::parameters(*model), true);
  using Sharding = parallel::UpdateSharding;
  const auto sharding = std::make_shared<Sharding>(tensors_of(ar::parameters(*model)), group,
                                                   Sharding::Cut::kAnywhere);
  std::vector<at::Tensor> slices;
  for (size_t i = 0; i < sharding->slices().size(); ++i) slices.push_back(sharding->weights(i));
  const auto optimizer = std::make_shared<PlainAdamW>(std::move(slices));
  const int64_t rows = pictures / group.size();
  const auto lesson = ar::rows_of(random_lesson(config, pictures), rows * group.rank(), rows);
  return [=] {
    sharding->zero_gradients();
    sharding->overlap_next_backward();
    ar::token_loss(*model, lesson.condition, lesson.tokens, forward).backward();
    sharding->reduce();
    optimizer->step([&](size_t i) { return sharding->gradient(i); });
    sharding->share_weights();
  };
}

/// Makes this rank of a training ready. Returns a step, which sees the mesh after this call.
///
/// after_step  is told of a pipeline's run; may be null
inline std::function<void()> start_training(
    const ar::Config& config, const Layout& layout, int64_t pictures, parallel::Mesh& mesh,
    const ar::ForwardOptions& forward,
    const std::function<void(const parallel::Pipeline&)>& after_step = nullptr) {
  const parallel::Plan plan = plan_of(config, layout, pictures);
  if (mesh.along("pipeline").size() > 1)
    return start_pipeline(config, plan, mesh, forward, after_step);
  if (mesh.along("tensor").size() > 1) return start_tensor(config, plan, mesh, forward);
  if (mesh.along("data").size() > 1) return start_data(config, pictures, mesh, forward);
  return start_alone(config, layout.micro_batches, pictures, forward);
}

}  // namespace lexel::tests
