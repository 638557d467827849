#include "autoregressive/extract_task.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "autoregressive/moe/gating.h"
#include "kernels/check.h"

namespace lexel::ar {
namespace {

/// `routing` as unlimited_gating() gives it for one token, which has a row of the buffer for each of its two experts.
int64_t expert_of(const moe::Routing& routing, int64_t choice) {
  int64_t row = routing.slots[choice][0].item<int64_t>();
  for (size_t e = 0; e < routing.rows_of_expert.size(); ++e) {
    if (row < routing.rows_of_expert[e]) return static_cast<int64_t>(e);
    row -= routing.rows_of_expert[e];
  }
  fail(ErrorKind::kInternal, "ar::task_model: a routing without its expert");
}

FeedForward dense(const FeedForward& layer, const Config& config, int64_t task) {
  const moe::Experts& experts = layer.experts;
  const at::Tensor logits = at::mm(experts.tasks, experts.router.t());  // (tasks, E)
  const moe::Routing routing = moe::unlimited_gating(logits.narrow(0, task, 1), {});
  const auto matrix = [&](const at::Tensor& all, int64_t e) {
    const int64_t rows = all.size(0) / config.experts;
    return all.narrow(0, e * rows, rows);
  };
  const int64_t first = expert_of(routing, 0), second = expert_of(routing, 1);
  FeedForward result;
  result.norm = layer.norm;
  result.up.weight = at::cat({matrix(experts.up, first), matrix(experts.up, second)});
  result.down.weight = at::cat({matrix(experts.down, first) * routing.gates[0][0],
                                matrix(experts.down, second) * routing.gates[1][0]},
                               1);
  result.up.bias = at::zeros({2 * config.hidden}, experts.up.options());
  result.down.bias = at::zeros({config.width}, experts.down.options());
  return result;
}

}  // namespace

Model task_model(const Model& model, int64_t task) {
  const Config& config = model.config;
  check_arg(config.experts > 0 && config.routing == "task", "ar::task_model",
            "expected a model whose experts are routed by task, got ",
            config.experts == 0 ? "one without experts" : "routing " + config.routing);
  check_arg(task >= 0 && task < config.tasks, "ar::task_model", "expected a task in 0 to ",
            config.tasks - 1, ", got ", task);
  const at::NoGradGuard no_grad;
  Model result = model;
  result.config.experts = 2;
  result.config.routing = "static";
  result.config.tasks = 0;
  const auto extract = [&](auto& blocks) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (!has_experts(config, static_cast<int64_t>(i))) continue;
      blocks[i].feed_forward = dense(blocks[i].feed_forward, config, task);
    }
  };
  extract(result.encoder);
  extract(result.decoder);
  return result;
}

}  // namespace lexel::ar
