#include "autoregressive/parallel/plan.h"

#include <algorithm>

#include "autoregressive/model.h"
#include "autoregressive/parallel/expert_parallel.h"
#include "kernels/check.h"
#include "tokenizers/io/fields_json.h"
#include "tokenizers/io/sha256.h"

namespace lexel::parallel {
namespace {

/// The stages hold each block of a stack once, in order.
void check_covered(const Plan& plan, BlockRange Stage::*stack, int64_t depth, const char* what) {
  int64_t next = 0;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const BlockRange& range = plan.stages[i].*stack;
    check_arg(range.size() >= 0 && (range.size() == 0 || range.begin == next), "check_plan",
              "stages: expected stage ", i, " to go on with block ", next, " of the ", what,
              ", got blocks ", range.begin, " to ", range.end - 1);
    if (range.size() > 0) next = range.end;
  }
  check_arg(next == depth, "check_plan", "stages: expected ", depth, " blocks of the ", what,
            ", got ", next);
}

void check_schedule(const Plan& plan) {
  check_arg(plan.schedule == "gpipe" || plan.schedule == "1f1b" || plan.schedule == "circular",
            "check_plan", "schedule: expected gpipe, 1f1b or circular, got ", plan.schedule);
  check_arg(plan.rounds >= 1 && (plan.schedule == "circular" || plan.rounds == 1), "check_plan",
            "rounds: expected ", plan.schedule == "circular" ? "1 or more" : "1 unless circular",
            ", got ", plan.rounds);
  const int64_t ranks = plan.mesh.length("pipeline");
  check_arg(static_cast<int64_t>(plan.stages.size()) == ranks * plan.rounds, "check_plan",
            "stages: expected ", ranks * plan.rounds, " (axis pipeline of ", ranks, " times ",
            plan.rounds, " rounds), got ", plan.stages.size());
  for (size_t i = static_cast<size_t>(ranks); i < plan.stages.size(); ++i)
    check_arg(plan.stages[i].encoder.size() == 0, "check_plan",
              "stages: expected the encoder's blocks in the first round, got some in stage ", i);
  const int64_t data = plan.mesh.length("data"), expert = plan.mesh.length("expert");
  const int64_t parts = data * expert * plan.micro_batches;
  check_arg(plan.batch >= 1 && plan.micro_batches >= 1 && plan.batch % parts == 0, "check_plan",
            "batch: expected a multiple of ", parts, " (axis data of ", data,
            expert > 1 ? concat(", axis expert of ", expert, ",") : "", " times ",
            plan.micro_batches, " micro-batches), got ", plan.batch);
}

/// Ranks of the axis "expert" hold some experts each, all of their matrices.
void check_experts(const Plan& plan, const ar::Config& config, const ParameterList& weights) {
  const int64_t ranks = plan.mesh.length("expert");
  if (ranks == 1) return;
  check_arg(config.experts > 0 && config.routing != "static", "check_plan",
            "mesh: axis expert: the model has no experts (model.experts)");
  check_arg(config.experts % ranks == 0, "check_plan", "mesh: expected axis expert to divide ",
            config.experts, " experts, got ", ranks);
  for (const Parameter& weight : weights)
    check_arg(weight.name.find(".feed_forward.experts.") == std::string::npos ||
                  placement_of(plan, weight.name) == Placement::along(0, "expert"),
              "check_plan", "annotations: expected ", weight.name,
              " split along axis expert in dimension 0, got another placement");
}

void check_placement(const Plan& plan, const Annotation& annotation, const Parameter& parameter) {
  const Placement& placement = annotation.placement;
  if (!placement.split) return;
  const auto rank = static_cast<int64_t>(parameter.shape.size());
  check_arg(placement.dim >= 0 && placement.dim < rank, "check_plan",
            "annotations: ", annotation.pattern, ": expected a dimension of ", parameter.name,
            ", from 0 to ", rank - 1, ", got ", placement.dim);
  const int64_t size = parameter.shape[static_cast<size_t>(placement.dim)];
  const int64_t length = plan.mesh.length(placement.axis);
  check_arg(size % length == 0, "check_plan", "annotations: ", parameter.name, ": expected axis ",
            placement.axis, " to divide dimension ", placement.dim, " of size ", size, ", got ",
            length);
}

/// Part `i` of `parts` of `count` blocks.
BlockRange share(int64_t count, int64_t i, int64_t parts) {
  return {count * i / parts, count * (i + 1) / parts};
}

}  // namespace

std::string model_fingerprint(const ar::Config& config) {
  const std::string text = "lexel-generator\n" + fields_json::write(config);
  return sha256(text.data(), text.size());
}

std::vector<Annotation> tensor_annotations() {
  const Placement rows = Placement::along(0, "tensor"), columns = Placement::along(1, "tensor");
  return {{"*.qkv.weight", rows},
          {"*.qkv.bias", rows},
          {"*.q.weight", rows},
          {"*.q.bias", rows},
          {"*.kv.weight", rows},
          {"*.kv.bias", rows},
          {"*.feed_forward.up.weight", rows},
          {"*.feed_forward.up.bias", rows},
          {"*.out.weight", columns},
          {"*.feed_forward.down.weight", columns},
          {"text_embedding.weight", rows},
          {"token_embedding.weight", rows},
          {"softmax.weight", rows},
          {"softmax.bias", rows}};
}

Plan even_plan(const ar::Config& config, const MeshShape& mesh, int64_t batch,
               int64_t micro_batches, const std::string& schedule, int64_t rounds) {
  Plan plan;
  plan.fingerprint = model_fingerprint(config);
  plan.mesh = mesh;
  plan.batch = batch;
  plan.micro_batches = micro_batches;
  plan.schedule = schedule;
  plan.rounds = rounds;
  const int64_t ranks = mesh.length("pipeline");
  for (int64_t i = 0; i < ranks * rounds; ++i) {
    const BlockRange encoder = i < ranks ? share(config.text_depth, i, ranks)
                                         : BlockRange{config.text_depth, config.text_depth};
    plan.stages.push_back({encoder, share(config.depth, i, ranks * rounds)});
  }
  if (mesh.length("tensor") > 1) {
    ar::Model layout = ar::model_layout(config);
    const ParameterList weights = ar::parameters(layout);
    for (const Annotation& annotation : tensor_annotations()) {
      // A model without text has fewer weights; a table of words has any number of rows, and stays whole where they do not divide.
      const auto is_split = [&](const Parameter& p) {
        return fits(annotation.pattern, p.name) &&
               (p.name != "text_embedding.weight" || p.shape[0] % mesh.length("tensor") == 0);
      };
      if (std::ranges::any_of(weights, is_split)) plan.annotations.push_back(annotation);
    }
  }
  if (mesh.length("expert") > 1)
    for (const Annotation& annotation : expert_annotations())
      plan.annotations.push_back(annotation);
  check_plan(plan, config);
  return plan;
}

bool fits(const std::string& pattern, const std::string& name) {
  // Greedy: after a mismatch the last '*' takes one more character.
  size_t p = 0, n = 0, star = std::string::npos, taken = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string::npos) {
      p = star + 1;
      n = ++taken;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Placement placement_of(const Plan& plan, const std::string& name) {
  for (const Annotation& annotation : plan.annotations)
    if (fits(annotation.pattern, name)) return annotation.placement;
  return Placement::replicate();
}

void check_plan(const Plan& plan, const ar::Config& config) {
  check_arg(plan.fingerprint == model_fingerprint(config), "check_plan",
            "fingerprint: the plan is for another model", plan.model.empty() ? "" : ", ",
            plan.model, ": expected ", model_fingerprint(config), ", got ", plan.fingerprint);
  check_schedule(plan);
  check_covered(plan, &Stage::encoder, config.text_depth, "encoder");
  check_covered(plan, &Stage::decoder, config.depth, "decoder");
  const int64_t tensor = plan.mesh.length("tensor");
  check_arg(config.heads % tensor == 0, "check_plan", "mesh: expected axis tensor to divide ",
            config.heads, " heads, got ", tensor);
  check_arg(plan.residual == "replicate" || plan.residual == "split", "check_plan",
            "residual: expected replicate or split, got ", plan.residual);
  ar::Model layout = ar::model_layout(config);
  const ParameterList weights = ar::parameters(layout);
  check_experts(plan, config, weights);
  for (const Annotation& annotation : plan.annotations) {
    bool found = false;
    for (const Parameter& parameter : weights) {
      if (!fits(annotation.pattern, parameter.name)) continue;
      found = true;
      check_placement(plan, annotation, parameter);
    }
    check_arg(found, "check_plan", "annotations: expected a weight that fits \"",
              annotation.pattern, "\", got none");
  }
}

}  // namespace lexel::parallel
