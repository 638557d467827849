#include "autoregressive/expert_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/stack.h>
#include <cassert>
#include <cmath>
#include <functional>
#include <vector>

#include "autoregressive/moe/gating.h"
#include "kernels/check.h"
#include "kernels/gelu.h"

namespace lexel::ar {
namespace {

at::Tensor gelu_or_relu(const Config& config, const at::Tensor& x) {
  return config.activation == "relu" ? at::relu(x) : kernels::gelu(x);
}

/// The auxiliary loss of both rules as one number, 1 where use is even.
double scale_of(const Config& config) {
  const auto e = static_cast<double>(config.experts);
  return config.routing == "token" && config.gating == "lingvo" ? 1.0 : e * e;
}

}  // namespace

int64_t block_number(const std::string& name) {
  const std::string blocks = ".blocks.";
  const size_t at = name.find(blocks);
  assert(at != std::string::npos);
  return std::stoll(name.substr(at + blocks.size()));
}

void list_experts(const std::string& name, moe::Experts& experts, const Config& config,
                  double residual_scale, const std::string& group, ParameterList& list) {
  const int64_t count = config.experts, width = config.width, hidden = config.hidden;
  const double up = 1.0 / std::sqrt(3.0 * static_cast<double>(width));
  const double down = residual_scale / std::sqrt(3.0 * static_cast<double>(hidden));
  list.push_back({name + ".router", {count, width}, Init::normal(up), &experts.router, group});
  if (config.routing == "task") {  // so large that tasks choose apart from the start
    list.push_back({name + ".tasks",
                    {config.tasks, width},
                    Init::normal(1.0),
                    &experts.tasks,
                    group,
                    /*decay=*/false});
  }
  list.push_back(
      {name + ".experts.up.weight", {count * hidden, width}, Init::normal(up), &experts.up, group});
  list.push_back({name + ".experts.down.weight",
                  {count * width, hidden},
                  Init::normal(down),
                  &experts.down,
                  group});
}

at::Tensor activated(const Config& config, const at::Tensor& up, int64_t hidden) {
  if (up.size(-1) == hidden) return gelu_or_relu(config, up);
  const std::vector<at::Tensor> parts = up.chunk(2, -1);
  return kernels::gelu(parts[0].contiguous()) * parts[1];
}

at::Tensor run_experts(const moe::Experts& experts, const std::string& name, const Config& config,
                       const BlockInputs& inputs, const at::Tensor& x,
                       const ForwardOptions& options) {
  const int64_t batch = x.size(0), tokens = x.size(1), width = x.size(2);
  const at::ScalarType wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const bool by_task = experts.tasks.defined();
  check_arg(!by_task || inputs.tasks.defined(), "ar::run_experts", "expected tasks, got none");

  const at::Tensor router = experts.router.to(wide);
  at::Tensor logits, of_tasks;  // (B, N, E); (tasks, E)
  if (by_task) {
    of_tasks = at::matmul(experts.tasks.to(wide), router.t());
    logits = of_tasks.index_select(0, inputs.tasks).unsqueeze(1).expand({-1, tokens, -1});
  } else {
    logits = at::matmul(x.to(wide), router.t());
  }

  moe::Routing routing;
  if (options.experts != nullptr && !by_task) {
    const at::Tensor noise = moe::second_choice_noise(options.seed, options.step, name,
                                                      options.first_row, batch, tokens);
    routing =
        moe::top2_gating(logits, noise, inputs.self_keys,
                         {config.gating == "lingvo" ? moe::Gating::kLingvo : moe::Gating::kGShard,
                          config.capacity_factor});
  } else {
    std::function<int64_t(int64_t)> agree;
    if (options.exchange != nullptr && options.exchange->ranks() > 1) {
      agree = [&](int64_t most) { return options.exchange->largest(most); };
    }
    const at::Tensor real = inputs.self_keys.defined() ? inputs.self_keys.flatten() : at::Tensor();
    routing = moe::unlimited_gating(logits.reshape({batch * tokens, -1}), real, agree);
    if (by_task) routing.auxiliary = moe::task_balance(of_tasks);
  }
  if (options.experts != nullptr) {
    add_to(*options.experts, routing.auxiliary * scale_of(config), routing.chosen);
  }
  const auto activation = [&config](const at::Tensor& up) { return gelu_or_relu(config, up); };
  return moe::apply_experts(x.reshape({batch * tokens, width}), experts, routing, activation,
                            options.exchange)
      .view({batch, tokens, width});
}

void add_to(ExpertRecord& record, const at::Tensor& auxiliary, const at::Tensor& chosen) {
  record.auxiliary = record.auxiliary.defined() ? record.auxiliary + auxiliary : auxiliary;
  record.chosen.push_back(chosen);
}

at::Tensor use_entropy(const ExpertRecord& record) {
  check_arg(!record.chosen.empty(), "ar::use_entropy", "expected a layer of experts, got none");
  std::vector<at::Tensor> layers;
  for (const at::Tensor& chosen : record.chosen) layers.push_back(moe::use_entropy(chosen));
  return at::stack(layers).mean();
}

}  // namespace lexel::ar
