#include "autoregressive/parallel/expert_parallel.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/ScalarTypeToTypeMeta.h>
#include <string>

#include "autoregressive/parallel/differentiable.h"

namespace lexel::parallel {
namespace {

bool is_of_experts(const std::string& name) {
  return name.find(".feed_forward.experts.") != std::string::npos;
}

}  // namespace

at::Tensor ExpertAllToAll::to_experts(const at::Tensor& x) const {
  const int64_t ranks = group_.size(), held = x.size(0) / ranks, rows = x.size(1);
  return all_to_all(x.contiguous(),
                    group_)  // (ranks held, n, D): from each rank, for each expert held
      .view({ranks, held, rows, x.size(2)})
      .permute({1, 0, 2, 3})
      .reshape({held, ranks * rows, x.size(2)});
}

at::Tensor ExpertAllToAll::from_experts(const at::Tensor& x) const {
  const int64_t ranks = group_.size(), held = x.size(0), rows = x.size(1) / ranks;
  const at::Tensor by_rank = x.reshape({held, ranks, rows, x.size(2)})
                                 .permute({1, 0, 2, 3})
                                 .reshape({ranks * held, rows, x.size(2)});
  return all_to_all(by_rank.contiguous(), group_);  // (E, n, D)
}

int64_t ExpertAllToAll::largest(int64_t rows) const {
  at::Tensor number = at::full({1}, rows, at::kLong);
  group_.all_reduce(number, Reduce::kMax);
  return number.item<int64_t>();
}

std::vector<Annotation> expert_annotations() {
  return {{"*.feed_forward.experts.*", Placement::along(0, "expert")}};
}

void reduce_gradients(const ParameterList& parameters, Group& experts, Group& data) {
  const at::NoGradGuard no_grad;
  const auto ranks = static_cast<double>(experts.size() * data.size());
  const auto reduce = [&](bool of_experts) {
    std::vector<at::Tensor> flat;
    for (const Parameter& parameter : parameters) {
      if (is_of_experts(parameter.name) != of_experts) continue;
      at::Tensor& gradient = parameter.tensor->mutable_grad();
      if (!gradient.defined()) gradient = at::zeros_like(*parameter.tensor);
      flat.push_back(gradient.flatten());
    }
    if (flat.empty()) return;
    at::Tensor sum = at::cat(flat);
    if (!of_experts) experts.all_reduce(sum);
    data.all_reduce(sum);
    sum.div_(ranks);
    int64_t begin = 0;
    for (const Parameter& parameter : parameters) {
      if (is_of_experts(parameter.name) != of_experts) continue;
      at::Tensor& gradient = parameter.tensor->mutable_grad();
      gradient.copy_(sum.narrow(0, begin, gradient.numel()).view(gradient.sizes()));
      begin += gradient.numel();
    }
  };
  reduce(/*of_experts=*/false);
  reduce(/*of_experts=*/true);
}

Traffic expected_expert_traffic(const ar::Config& config, int64_t ranks, const PassShape& pass) {
  Traffic traffic;
  if (ranks == 1 || config.experts == 0 || config.routing == "static") return traffic;
  const auto number = static_cast<int64_t>(c10::elementSize(pass.compute));
  const auto add = [&](int64_t blocks, int64_t tokens) {
    const int64_t layers = blocks / 2;
    const int64_t capacity = moe::expert_capacity(config.capacity_factor, tokens, config.experts);
    const int64_t calls = layers * (2 + (pass.is_backward ? 2 : 0) +
                                    (pass.is_backward && pass.rematerialize ? 2 : 0));
    const int64_t bytes = config.experts * pass.batch * capacity * config.width * number;
    if (calls == 0) return;
    traffic.by_collective["all_to_all"].calls += calls;
    traffic.by_collective["all_to_all"].bytes += calls * (bytes / ranks * (ranks - 1));
  };
  if (config.text_depth > 0) add(config.text_depth, pass.text_tokens);
  add(config.depth, pass.tokens);
  return traffic;
}

}  // namespace lexel::parallel
