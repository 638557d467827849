#include "autoregressive/model.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/sin.h>
#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "autoregressive/layer_runner.h"
#include "autoregressive/rematerialize.h"
#include "kernels/check.h"

namespace lexel::ar {
namespace {

// Found by a search with a small model: 2.11 nats per token after 2,400 pictures from random positions, 1.91 from waves of
// this height, 2.00 from three times that.
constexpr double kWaveHeight = 0.1;

// Words start so large beside what the encoder's blocks add that steps of the optimizer do not blur them before the decoder has
// learnt to read; with a thirtieth of it a small model learnt to shut its ears.
constexpr double kTextHeight = 30.0;

void check_ids(const at::Tensor& ids, int64_t limit, const char* function, const char* what) {
  if (ids.numel() == 0) return;
  const auto low = ids.min().item<int64_t>(), high = ids.max().item<int64_t>();
  check(low >= 0 && high < limit, ErrorKind::kBadData, function, ": expected ", what, " in 0 to ",
        limit - 1, ", got ", low < 0 ? low : high);
}

void check_integers(const at::Tensor& x, int64_t dim, const char* function, const char* expected) {
  check_arg(x.defined() && x.scalar_type() == at::kLong && x.dim() == dim, function, "expected ",
            expected, " int64, got ",
            x.defined() ? concat(x.scalar_type(), " of shape ", x.sizes()) : "none");
}

void check_options(const ForwardOptions& options, const char* function) {
  check_arg(options.compute == at::kFloat || options.compute == at::kBFloat16 ||
                options.compute == at::kDouble,
            function, "expected compute float32, bfloat16 or float64, got ", options.compute);
  check_arg(options.dropout >= 0.0 && options.dropout < 1.0, function,
            "expected a dropout of at least 0 and less than 1, got ", options.dropout);
}

void check_text(const Config& config, const Condition& condition, const char* function) {
  check_integers(condition.text, 2, function, "text (B, m)");
  check_integers(condition.lengths, 1, function, "lengths (B)");
  const int64_t batch = condition.text.size(0), pieces = condition.text.size(1);
  check_arg(pieces >= 1 && pieces <= config.max_text_tokens, function, "expected 1 to ",
            config.max_text_tokens, " text tokens, got ", pieces);
  check_arg(condition.lengths.size(0) == batch, function, "expected one length a row, got ",
            condition.lengths.size(0), " for ", batch);
  check_ids(condition.text, config.text_vocabulary, function, "pieces");
  check_ids(condition.lengths - 1, pieces, function, "lengths - 1");
}

/// Everything that a teacher-forced pass is given.
void check_arguments(const Config& config, const Condition& condition, const at::Tensor& tokens,
                     const ForwardOptions& options, const char* function) {
  check_options(options, function);
  const int64_t count = config.grid_height * config.grid_width;
  check_integers(tokens, 2, function, "tokens (B, N)");
  check_arg(tokens.size(1) == count, function, "expected ", count, " tokens a picture, got ",
            tokens.size(1));
  check_ids(tokens, config.codebook_size, function, "tokens");
  int64_t rows = tokens.size(0);
  if (config.text_depth > 0) {
    check_text(config, condition, function);
    rows = condition.text.size(0);
  } else if (config.classes > 0) {
    check_integers(condition.classes, 1, function, "classes (B)");
    check_ids(condition.classes, config.classes + 1, function, "classes");
    rows = condition.classes.size(0);
  }
  check_arg(rows == tokens.size(0), function, "expected one condition a picture, got ", rows,
            " for ", tokens.size(0));
}

/// dtype of the residual stream.
at::ScalarType residual_type(const ForwardOptions& options) {
  return options.compute == at::kDouble ? at::kDouble : at::kFloat;
}

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
  const auto segment = [name, config, inputs, options](const std::vector<at::Tensor>& given) {
    Block same;
    ParameterList same_list;
    list_block(name, same, config, same_list);
    for (size_t i = 0; i < same_list.size(); ++i) *same_list[i].tensor = given[i + 1];
    BlockInputs same_inputs = inputs;
    if (inputs.text.defined()) same_inputs.text = given.back();
    return run_block(same, name, config, same_inputs, given[0], options);
  };
  return rematerialized(segment, tensors);
}

std::string block_name(const char* stack, size_t i) {
  return std::string(stack) + ".blocks." + std::to_string(i);
}

/// A stack's stream from its inputs (B, N, D).
at::Tensor enter(const at::Tensor& x, const std::string& stack, const ForwardOptions& options) {
  const LayerRunner& runner = runner_of(options);
  const at::Tensor stream = runner.enter(x.to(residual_type(options)), stack);
  if (options.dropout == 0.0) return stream;
  return runner.dropout(stream, stack + ".input", x.size(1), options);
}

/// (B, m) bool: true before each row's length.
at::Tensor real_pieces(const Condition& condition) {
  return at::arange(condition.text.size(1), condition.lengths.options())
      .unsqueeze(0)
      .lt(condition.lengths.unsqueeze(1));
}

/// The text without the columns that are padding in every row, here and in the batch that this one is a part of.
Condition without_padding(const Condition& condition, const ForwardOptions& options) {
  const int64_t here = condition.lengths.numel() == 0 ? 1 : condition.lengths.max().item<int64_t>();
  const int64_t longest = std::min(std::max(here, options.text_tokens), condition.text.size(1));
  return {condition.text.narrow(1, 0, longest), condition.lengths, condition.classes};
}

/// The encoder behind checks: (B, m, D) in `compute`.
at::Tensor encoded(const Model& model, const Condition& condition, const at::Tensor& keys,
                   const ForwardOptions& options) {
  const LayerRunner& runner = runner_of(options);
  const int64_t tokens = condition.text.size(1);
  at::Tensor x = runner.embedding(model.text_embedding, "text_embedding", condition.text) +
                 model.text_positions.narrow(0, 0, tokens);  // (B, m, D)
  x = enter(x, "encoder", options);
  const BlockInputs inputs{kernels::AttentionMask::full(), keys, {}, {}, tokens};
  for (size_t i = 0; i < model.encoder.size(); ++i) {
    x = run(model.encoder[i], block_name("encoder", i), model.config, inputs, x, options);
  }
  return runner.leave(runner.norm(model.encoder_norm, "encoder.norm", x, options.compute),
                      "encoder", tokens);
}

void check_places(const Config& config, const at::Tensor& tokens, const at::Tensor& places) {
  check_arg(places.dim() == 2 && places.size(0) == tokens.size(0) && places.size(1) >= 1 &&
                places.scalar_type() == at::kLong,
            "ar::token_loss", "expected (", tokens.size(0), ", n) int64 places, got ",
            places.scalar_type(), " of shape ", places.sizes());
  const int64_t count = places.size(1);
  const bool ascending =
      count == 1 ||
      (places.narrow(1, 1, count - 1) > places.narrow(1, 0, count - 1)).all().item<bool>();
  check_arg(ascending && places.min().item<int64_t>() >= 0 &&
                places.max().item<int64_t>() < tokens.size(1),
            "ar::token_loss", "expected ascending places from 0 to ", tokens.size(1) - 1);
  const std::vector<bool> conv = conv_blocks(config);
  check_arg(std::ranges::find(conv, true) == conv.end(), "ar::token_loss",
            "expected a model without conv-shaped blocks for chosen places");
}

/// The decoder's residual stream after `blocks` blocks: (B, N, D), or (B, n, D) at `places`.
at::Tensor decoded(const Model& model, const Condition& given, const at::Tensor& tokens,
                   int64_t blocks, const ForwardOptions& options, const at::Tensor& places = {}) {
  const Config& config = model.config;
  const LayerRunner& runner = runner_of(options);
  const int64_t batch = tokens.size(0), count = tokens.size(1), width = config.width;
  BlockInputs inputs;
  if (config.text_depth > 0) {
    const Condition condition = without_padding(given, options);
    inputs.text_keys = real_pieces(condition);
    inputs.text = encoded(model, condition, inputs.text_keys, options);
  }

  // Place p holds the token before it, and the position of the token that comes there.
  const auto first = config.classes > 0
                         ? runner.embedding(model.start, "start", given.classes).unsqueeze(1)
                         : model.start.expand({batch, 1, width});  // (B, 1, D)
  const auto before =
      runner.embedding(model.token_embedding, "token_embedding", tokens.narrow(1, 0, count - 1));
  const auto positions = (model.row_positions.unsqueeze(1) + model.column_positions.unsqueeze(0))
                             .reshape({count, width});
  at::Tensor x = at::cat({first, before}, 1) + positions;  // (B, N, D)
  if (places.defined()) x = x.gather(1, places.unsqueeze(2).expand({-1, -1, width}));
  inputs.tokens = x.size(1);
  x = enter(x, "decoder", options);

  const std::vector<bool> conv = conv_blocks(config);
  for (size_t i = 0; i < static_cast<size_t>(blocks); ++i) {
    inputs.mask = conv[i] ? kernels::AttentionMask::conv(config.grid_width, config.conv_kernel)
                          : kernels::AttentionMask::causal();
    x = run(model.decoder[i], block_name("decoder", i), config, inputs, x, options);
  }
  return x;
}

/// What the softmax layer reads: the decoder's normed stream, (B, N, D) in `compute`, or (B, n, D) at `places`.
at::Tensor decoder_output(const Model& model, const Condition& condition, const at::Tensor& tokens,
                          const ForwardOptions& options, const at::Tensor& places = {}) {
  const auto x = decoded(model, condition, tokens, model.config.depth, options, places);
  return runner_of(options).norm(model.decoder_norm, "decoder.norm", x, options.compute);
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
  initialise(parameters(model), seed, device);
  start_as_waves(model.row_positions, 0);
  start_as_waves(model.column_positions, 2 * (config.width / 8));
  return model;
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
    const at::Tensor scaled = table * (target->std() / table.std());
    target->mul_(0.1).add_(scaled);  // what was there keeps equal codes apart
  }
}

at::Tensor encode_text(const Model& model, const Condition& condition,
                       const ForwardOptions& options) {
  check_arg(model.config.text_depth > 0, "ar::encode_text", "expected a model with text, got none");
  check_options(options, "ar::encode_text");
  check_text(model.config, condition, "ar::encode_text");
  return encoded(model, condition, real_pieces(condition), options);
}

at::Tensor logits(const Model& model, const Condition& condition, const at::Tensor& tokens,
                  const ForwardOptions& options) {
  check_arguments(model.config, condition, tokens, options, "ar::logits");
  const auto x = decoder_output(model, condition, tokens, options);
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
  return runner_of(options).whole(decoded(model, condition, tokens, block + 1, options),
                                  tokens.size(1));
}

at::Tensor token_loss(const Model& model, const Condition& condition, const at::Tensor& tokens,
                      const ForwardOptions& options, const at::Tensor& seen,
                      const at::Tensor& places) {
  check_arguments(model.config, condition, tokens, options, "ar::token_loss");
  check_arg(tokens.size(0) >= 1, "ar::token_loss", "expected at least one picture, got none");
  if (seen.defined()) check_arguments(model.config, condition, seen, options, "ar::token_loss");
  if (places.defined()) check_places(model.config, tokens, places);
  const at::Tensor& given = seen.defined() ? seen : tokens;
  const at::Tensor learnt = places.defined() ? tokens.gather(1, places) : tokens;
  const auto x = decoder_output(model, condition, given, options, places);
  return runner_of(options).softmax_loss(model.softmax, x, learnt.size(1), learnt.flatten());
}

at::Tensor token_log_likelihoods(const Model& model, const Condition& condition,
                                 const at::Tensor& tokens, const ForwardOptions& options) {
  check_arguments(model.config, condition, tokens, options, "ar::token_log_likelihoods");
  const at::NoGradGuard no_grad;
  const auto x = decoder_output(model, condition, tokens, options);
  return runner_of(options)
      .log_likelihoods(model.softmax, x, tokens.size(1), tokens.flatten())
      .reshape(tokens.sizes());
}

}  // namespace lexel::ar
