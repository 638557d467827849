#include "autoregressive/stages.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <algorithm>
#include <vector>

#include "autoregressive/arguments.h"
#include "autoregressive/expert_layer.h"
#include "autoregressive/layer_runner.h"
#include "autoregressive/rematerialize.h"
#include "kernels/check.h"

namespace lexel::ar {
namespace {

/// run_block, computed again in the backward pass where the options say so.
template <class Block>
at::Tensor run(const Block& block, const std::string& name, const Config& config,
               const BlockInputs& inputs, const at::Tensor& x, const ForwardOptions& options) {
  if (!options.rematerialize || !at::GradMode::is_enabled()) {
    return run_block(block, name, config, inputs, x, options);
  }
  // Its tensors as a list (x, the block's parameters, the text where there is one), and back.
  Block copy = block;
  ParameterList list;
  list_block(name, copy, config, list);
  std::vector<at::Tensor> tensors{x};
  for (const Parameter& parameter : list) tensors.push_back(*parameter.tensor);
  if (inputs.text.defined()) tensors.push_back(inputs.text);
  const auto segment = [name, config, inputs,
                        options](const std::vector<at::Tensor>& given) -> std::vector<at::Tensor> {
    Block same;
    ParameterList same_list;
    list_block(name, same, config, same_list);
    for (size_t i = 0; i < same_list.size(); ++i) *same_list[i].tensor = given[i + 1];
    BlockInputs same_inputs = inputs;
    if (inputs.text.defined()) same_inputs.text = given.back();
    ExpertRecord record;  // its tensors are results as well
    ForwardOptions own = options;
    if (options.experts != nullptr) own.experts = &record;
    const at::Tensor y = run_block(same, name, config, same_inputs, given[0], own);
    if (record.chosen.empty()) return {y};
    return {y, record.auxiliary, record.chosen[0]};
  };
  const std::vector<at::Tensor> results = rematerialized(segment, tensors);
  if (results.size() > 1) add_to(*options.experts, results[1], results[2]);
  return results[0];
}

/// A stack's stream from its inputs (B, N, D).
at::Tensor enter(const at::Tensor& x, const std::string& stack, const ForwardOptions& options) {
  const LayerRunner& runner = runner_of(options);
  const at::Tensor stream = runner.enter(x.to(residual_type(options)), stack);
  if (options.dropout == 0.0) return stream;
  return runner.dropout(stream, stack + ".input", x.size(1), options);
}

at::Tensor rows(const at::Tensor& x, int64_t first, int64_t count) {
  return x.defined() ? x.narrow(0, first, count) : x;
}

}  // namespace

void check_lesson(const Config& config, const Lesson& lesson, const ForwardOptions& options,
                  const char* function) {
  check_arguments(config, lesson.condition, lesson.tokens, options, function);
  check_arg(lesson.tokens.size(0) >= 1, function, "expected at least one picture, got none");
  if (lesson.seen.defined()) {
    check_arguments(config, lesson.condition, lesson.seen, options, function);
  }
  if (lesson.places.defined()) check_places(config, lesson.tokens, lesson.places, function);
}

Lesson rows_of(const Lesson& lesson, int64_t first, int64_t count) {
  const auto part = [&](const at::Tensor& x) { return rows(x, first, count); };
  const Condition& c = lesson.condition;
  return {{part(c.text), part(c.lengths), part(c.classes), part(c.tasks)},
          part(lesson.tokens),
          part(lesson.seen),
          part(lesson.places)};
}

int64_t place_count(const Lesson& lesson) {
  return lesson.places.defined() ? lesson.places.size(1) : lesson.tokens.size(1);
}

at::ScalarType residual_type(const ForwardOptions& options) {
  return options.compute == at::kDouble ? at::kDouble : at::kFloat;
}

std::string block_name(const char* stack, size_t i) {
  return std::string(stack) + ".blocks." + std::to_string(i);
}

at::Tensor real_pieces(const at::Tensor& text, const at::Tensor& lengths) {
  return at::arange(text.size(1), lengths.options()).unsqueeze(0).lt(lengths.unsqueeze(1));
}

Pieces pieces_of(const Config& config, const Condition& condition, const ForwardOptions& options) {
  if (config.text_depth == 0) return {};
  const at::Tensor& lengths = condition.lengths;
  const int64_t here = lengths.numel() == 0 ? 1 : lengths.max().item<int64_t>();
  const int64_t longest = std::min(std::max(here, options.text_tokens), condition.text.size(1));
  const at::Tensor text = condition.text.narrow(1, 0, longest);
  return {text, real_pieces(text, lengths)};
}

at::Tensor encoder_input(const Model& model, const at::Tensor& text,
                         const ForwardOptions& options) {
  const at::Tensor x = runner_of(options).embedding(model.text_embedding, "text_embedding", text) +
                       model.text_positions.narrow(0, 0, text.size(1));  // (B, m, D)
  return enter(x, "encoder", options);
}

at::Tensor run_encoder(const Model& model, const at::Tensor& keys, const at::Tensor& x,
                       int64_t begin, int64_t end, const ForwardOptions& options,
                       const at::Tensor& tasks) {
  const BlockInputs inputs{kernels::AttentionMask::full(), keys, {}, {}, keys.size(1), tasks};
  at::Tensor y = x;
  for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
    y = run(model.encoder[i], block_name("encoder", i), model.config, inputs, y, options);
  }
  return y;
}

at::Tensor encoder_output(const Model& model, const at::Tensor& x, int64_t tokens,
                          const ForwardOptions& options) {
  const LayerRunner& runner = runner_of(options);
  const at::Tensor y = runner.norm(model.encoder_norm, "encoder.norm", x, options.compute);
  return runner.leave(y, "encoder", tokens);
}

at::Tensor decoder_input(const Model& model, const Lesson& lesson, const ForwardOptions& options) {
  const Config& config = model.config;
  const LayerRunner& runner = runner_of(options);
  const at::Tensor& tokens = lesson.seen.defined() ? lesson.seen : lesson.tokens;
  const int64_t batch = tokens.size(0), count = tokens.size(1), width = config.width;
  const auto first =
      config.classes > 0
          ? runner.embedding(model.start, "start", lesson.condition.classes).unsqueeze(1)
          : model.start.expand({batch, 1, width});  // (B, 1, D)
  const auto before =
      runner.embedding(model.token_embedding, "token_embedding", tokens.narrow(1, 0, count - 1));
  const auto positions = (model.row_positions.unsqueeze(1) + model.column_positions.unsqueeze(0))
                             .reshape({count, width});
  at::Tensor x = at::cat({first, before}, 1) + positions;  // (B, N, D)
  if (lesson.places.defined()) {
    x = x.gather(1, lesson.places.unsqueeze(2).expand({-1, -1, width}));
  }
  return enter(x, "decoder", options);
}

at::Tensor run_decoder(const Model& model, const EncodedText& text, const at::Tensor& x,
                       int64_t tokens, int64_t begin, int64_t end, const ForwardOptions& options,
                       const at::Tensor& tasks) {
  const Config& config = model.config;
  BlockInputs inputs{{}, {}, text.output, text.keys, tokens, tasks};
  const std::vector<bool> conv = conv_blocks(config);
  at::Tensor y = x;
  for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
    inputs.mask = conv[i] ? kernels::AttentionMask::conv(config.grid_width, config.conv_kernel)
                          : kernels::AttentionMask::causal();
    y = run(model.decoder[i], block_name("decoder", i), config, inputs, y, options);
  }
  return y;
}

at::Tensor decoder_output(const Model& model, const at::Tensor& x, const ForwardOptions& options) {
  return runner_of(options).norm(model.decoder_norm, "decoder.norm", x, options.compute);
}

at::Tensor lesson_loss(const Model& model, const Lesson& lesson, const at::Tensor& output,
                       const ForwardOptions& options) {
  const at::Tensor& tokens = lesson.tokens;
  const auto learnt = lesson.places.defined() ? tokens.gather(1, lesson.places) : tokens;
  return runner_of(options).softmax_loss(model.softmax, output, learnt.size(1), learnt.flatten());
}

}  // namespace lexel::ar
