#include "autoregressive/parallel/stage_parameters.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "kernels/check.h"

namespace lexel::parallel {
namespace {

/// Number of the block that `name` belongs to: 3 of "encoder.blocks.3.attention.qkv.weight".
std::optional<int64_t> block_of(std::string_view name, std::string_view stack) {
  if (!name.starts_with(stack)) return std::nullopt;
  name.remove_prefix(stack.size());
  constexpr std::string_view kBlocks = ".blocks.";
  if (!name.starts_with(kBlocks)) return std::nullopt;
  name.remove_prefix(kBlocks.size());
  int64_t block = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), block);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return std::nullopt;
  return block;
}

std::optional<int64_t> stage_with_block(const Plan& plan, BlockRange Stage::*stack, int64_t block) {
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const BlockRange& range = plan.stages[i].*stack;
    if (block >= range.begin && block < range.end) return static_cast<int64_t>(i);
  }
  return std::nullopt;
}

std::optional<int64_t> find_stage(const Plan& plan, std::string_view name) {
  const auto one_of = [&](auto... begins) { return (name.starts_with(begins) || ...); };
  const auto last = [&](BlockRange Stage::*stack) {
    int64_t end = 0;
    for (const Stage& stage : plan.stages) end = std::max(end, (stage.*stack).end);
    return end - 1;
  };
  std::optional<int64_t> block = block_of(name, "encoder");
  if (name.starts_with("text_")) block = 0;
  if (name.starts_with("encoder.norm.")) block = last(&Stage::encoder);
  if (block) return stage_with_block(plan, &Stage::encoder, *block);
  block = block_of(name, "decoder");
  if (one_of("token_embedding.", "row_positions", "column_positions") || name == "start") block = 0;
  if (one_of("decoder.norm.", "softmax.")) block = last(&Stage::decoder);
  if (block) return stage_with_block(plan, &Stage::decoder, *block);
  return std::nullopt;
}

}  // namespace

int64_t stage_of(const Plan& plan, const std::string& name) {
  const auto stage = find_stage(plan, name);
  check_arg(stage.has_value(), "stage_of", "no stage of the plan holds '", name, "'");
  return *stage;
}

ParameterList stage_parameters(ar::Model& model, const Plan& plan, int64_t rank) {
  const int64_t ranks = plan.mesh.length("pipeline");
  ParameterList held = ar::parameters(model);
  std::erase_if(held, [&](const Parameter& p) { return stage_of(plan, p.name) % ranks != rank; });
  return held;
}

ar::Model make_stage(const ar::Config& config, const Plan& plan, int64_t rank, uint64_t seed,
                     at::Device device) {
  ar::Model model = ar::model_layout(config);
  ar::initialise_part(model, stage_parameters(model, plan, rank), seed, device);
  return model;
}

void keep_stage(ar::Model& model, const Plan& plan, int64_t rank) {
  const int64_t ranks = plan.mesh.length("pipeline");
  for (const Parameter& p : ar::parameters(model)) {
    if (stage_of(plan, p.name) % ranks != rank) *p.tensor = at::Tensor();
  }
}

}  // namespace lexel::parallel
