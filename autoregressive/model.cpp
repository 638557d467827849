#include "autoregressive/model.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/sin.h>
#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "autoregressive/arguments.h"
#include "autoregressive/layer_runner.h"
#include "autoregressive/stages.h"
#include "kernels/check.h"

namespace lexel::ar {
namespace {

// Found by a search with a small model: 2.11 nats per token after 2,400 pictures from random positions, 1.91 from waves of
// this height, 2.00 from three times that.
constexpr double kWaveHeight = 0.1;

// Words start so large beside what the encoder's blocks add that steps of the optimizer do not blur them before the decoder has
// learnt to read; with a thirtieth of it a small model learnt to shut its ears.
constexpr double kTextHeight = 30.0;

/// The encoder behind checks: (B, m, D) in `compute`.
at::Tensor encoded(const Model& model, const Pieces& pieces, const at::Tensor& tasks,
                   const ForwardOptions& options) {
  const at::Tensor x = encoder_input(model, pieces.text, options);
  const at::Tensor y =
      run_encoder(model, pieces.keys, x, 0, model.config.text_depth, options, tasks);
  return encoder_output(model, y, pieces.text.size(1), options);
}

/// The decoder's stream after `blocks` blocks: (B, N, D), or (B, n, D) at the lesson's places.
at::Tensor decoded(const Model& model, const Lesson& lesson, int64_t blocks,
                   const ForwardOptions& options) {
  EncodedText text;
  if (model.config.text_depth > 0) {
    const Pieces pieces = pieces_of(model.config, lesson.condition, options);
    text = {encoded(model, pieces, lesson.condition.tasks, options), pieces.keys};
  }
  const at::Tensor x = decoder_input(model, lesson, options);
  return run_decoder(model, text, x, place_count(lesson), 0, blocks, options,
                     lesson.condition.tasks);
}

/// What the softmax layer reads: the decoder's normed stream.
at::Tensor last_features(const Model& model, const Lesson& lesson, const ForwardOptions& options) {
  return decoder_output(model, decoded(model, lesson, model.config.depth, options), options);
}

void list_table(const std::string& name, at::Tensor& table, int64_t rows, int64_t width,
                double scale, const std::string& group, ParameterList& list) {
  const double std = scale / std::sqrt(3.0 * static_cast<double>(width));
  list.push_back({name, {rows, width}, Init::normal(std), &table, group, /*decay=*/false});
}

/// Fills the quarter of a table of positions that starts at channel `first` with sines and cosines of 1/32 to 1/2 turn a place (for
/// 16 places), the rest with zeros.
void start_as_waves(at::Tensor& table, int64_t first) {
  const at::NoGradGuard no_grad;
  const int64_t count = table.size(0), waves = table.size(1) / 8;
  const auto options = table.options();
  const double slowest = std::numbers::pi / double(std::max<int64_t>(count, 2));
  const at::Tensor steps = at::arange(waves, options) / double(std::max<int64_t>(waves - 1, 1));
  const at::Tensor rates = slowest * at::exp(steps * std::log(std::numbers::pi / slowest));
  const at::Tensor angles = at::arange(count, options).unsqueeze(1) * rates;  // (count, D / 8)
  table.zero_();
  table.narrow(1, first, waves).copy_(at::sin(angles) * kWaveHeight);
  table.narrow(1, first + waves, waves).copy_(at::cos(angles) * kWaveHeight);
}

}  // namespace

Model model_layout(const Config& config) {
  validate(config);
  Model model;
  model.config = config;
  return model;
}

ParameterList parameters(Model& model) {
  const Config& config = model.config;
  const int64_t width = config.width;
  ParameterList list;
  model.encoder.resize(static_cast<size_t>(config.text_depth));
  model.decoder.resize(static_cast<size_t>(config.depth));
  if (config.text_depth > 0) {
    list_table("text_embedding.weight", model.text_embedding, config.text_vocabulary, width,
               kTextHeight, "embedding", list);
    list_table("text_positions", model.text_positions, config.max_text_tokens, width,
               kTextHeight / 2, "embedding", list);
    for (size_t i = 0; i < model.encoder.size(); ++i) {
      list_block(block_name("encoder", i), model.encoder[i], config, list);
    }
    list_norm("encoder.norm", model.encoder_norm, width, "text", list);
  }
  list_table("start", model.start, config.classes + 1, width, 1.0, "embedding", list);
  list_table("token_embedding.weight", model.token_embedding, config.codebook_size, width, 1.0,
             "embedding", list);
  list_table("row_positions", model.row_positions, config.grid_height, width, 1.0, "embedding",
             list);
  list_table("column_positions", model.column_positions, config.grid_width, width, 1.0, "embedding",
             list);
  for (size_t i = 0; i < model.decoder.size(); ++i) {
    list_block(block_name("decoder", i), model.decoder[i], config, list);
  }
  list_norm("decoder.norm", model.decoder_norm, width, "decoder", list);
  // A quarter: the first predictions are near uniform.
  list_linear("softmax", model.softmax, config.codebook_size, width, 0.25, "softmax", list);
  return list;
}

int64_t block_parameter_count(const Config& config) {
  Model layout = model_layout(config);
  ParameterList blocks = parameters(layout);
  std::erase_if(blocks,
                [](const Parameter& p) { return p.name.find(".blocks.") == std::string::npos; });
  return parameter_count(blocks);
}

Model make_model(const Config& config, uint64_t seed, at::Device device) {
  Model model = model_layout(config);
  initialise_part(model, parameters(model), seed, device);
  return model;
}

void initialise_part(Model& model, const ParameterList& part, uint64_t seed, at::Device device) {
  initialise(part, seed, device);
  for (const Parameter& p : part) {
    if (p.tensor == &model.row_positions) start_as_waves(*p.tensor, 0);
    if (p.tensor == &model.column_positions) {
      start_as_waves(*p.tensor, 2 * (model.config.width / 8));
    }
  }
}

void start_from_codes(Model& model, const at::Tensor& codes, uint64_t seed) {
  const int64_t count = model.config.codebook_size;
  check_arg(codes.dim() == 2 && codes.scalar_type() == at::kFloat && codes.size(0) == count &&
                codes.size(1) >= 1,
            "start_from_codes", "expected (", count, ", Z) float32 codes, got ",
            codes.scalar_type(), " of shape ", codes.sizes());
  const at::NoGradGuard no_grad;
  at::Tensor projection;  // (Z, D)
  initialise(
      {{"start_from_codes", {codes.size(1), model.config.width}, Init::normal(1.0), &projection}},
      seed, codes.device());
  // Codes lie close together (on average half of them within a cosine of 0.9 of any one), so their common part is taken away
  // and what is left is spread evenly over its directions.
  const at::Tensor centred = codes - codes.mean(0, /*keepdim=*/true);
  const auto [rotated, lengths, axes] = at::linalg_svd(centred, /*full_matrices=*/false);
  const at::Tensor spread =
      rotated *
      (lengths > 1e-4 * lengths.max()).to(codes.scalar_type());  // (K, Z), orthonormal columns
  const at::Tensor table = spread.matmul(projection);            // (K, D)
  for (at::Tensor* const target : {&model.token_embedding, &model.softmax.weight}) {
    if (!target->defined()) continue;
    const at::Tensor scaled = table * (target->std() / table.std());
    target->mul_(0.1).add_(scaled);  // what was there keeps equal codes apart
  }
}

at::Tensor encode_text(const Model& model, const Condition& condition,
                       const ForwardOptions& options) {
  check_arg(model.config.text_depth > 0, "ar::encode_text", "expected a model with text, got none");
  check_options(options, "ar::encode_text");
  check_text(model.config, condition, "ar::encode_text");
  check_tasks(model.config, condition, condition.text.size(0), "ar::encode_text");
  return encoded(model, {condition.text, real_pieces(condition.text, condition.lengths)},
                 condition.tasks, options);
}

at::Tensor logits(const Model& model, const Condition& condition, const at::Tensor& tokens,
                  const ForwardOptions& options) {
  check_arguments(model.config, condition, tokens, options, "ar::logits");
  const auto x = last_features(model, {condition, tokens, {}, {}}, options);
  return runner_of(options)
      .logits(model.softmax, x, tokens.size(1))
      .to(residual_type(options))
      .reshape({tokens.size(0), tokens.size(1), model.config.codebook_size});
}

at::Tensor features(const Model& model, const Condition& condition, const at::Tensor& tokens,
                    int64_t block, const ForwardOptions& options) {
  check_arguments(model.config, condition, tokens, options, "ar::features");
  check_arg(block >= 0 && block < model.config.depth, "ar::features", "expected a block in 0 to ",
            model.config.depth - 1, ", got ", block);
  const auto x = decoded(model, {condition, tokens, {}, {}}, block + 1, options);
  return runner_of(options).whole(x, "decoder", tokens.size(1));
}

at::Tensor token_loss(const Model& model, const Condition& condition, const at::Tensor& tokens,
                      const ForwardOptions& options, const at::Tensor& seen,
                      const at::Tensor& places) {
  const Lesson lesson{condition, tokens, seen, places};
  check_lesson(model.config, lesson, options, "ar::token_loss");
  return lesson_loss(model, lesson, last_features(model, lesson, options), options);
}

at::Tensor token_log_likelihoods(const Model& model, const Condition& condition,
                                 const at::Tensor& tokens, const ForwardOptions& options) {
  check_arguments(model.config, condition, tokens, options, "ar::token_log_likelihoods");
  const at::NoGradGuard no_grad;
  const auto x = last_features(model, {condition, tokens, {}, {}}, options);
  return runner_of(options)
      .log_likelihoods(model.softmax, x, tokens.size(1), tokens.flatten())
      .reshape(tokens.sizes());
}

}  // namespace lexel::ar
