#include "autoregressive/scorer_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/matmul.h>
#include <cmath>

#include "kernels/check.h"

namespace lexel::ar {
namespace {

constexpr int64_t kPatch = 16;         // pixels a token's side: the product of the stem's strides
constexpr double kTemperature = 0.07;  // of a fresh model
constexpr double kLargestScale = 100.0;
constexpr std::array<int64_t, 3> kStrides = {4, 2, 2};

void check_range(const char* field, int64_t value, int64_t low, int64_t high) {
  check_arg(value >= low && value <= high, "validate(ScorerConfig)", field, ": expected ", low,
            " to ", high, ", got ", value);
}

/// What the blocks of transformer.h want to know of a tower.
Config tower(const ScorerConfig& config, int64_t depth) {
  Config out;
  out.text_depth = depth;
  out.width = config.width;
  out.heads = config.heads;
  out.hidden = config.hidden;
  return out;
}

std::string block_name(const char* tower, size_t i) {
  return std::string(tower) + ".blocks." + std::to_string(i);
}

void list_convolution(const std::string& name, Convolution& convolution, int64_t outputs,
                      int64_t inputs, int64_t side, ParameterList& list) {
  const double std = std::sqrt(2.0 / static_cast<double>(inputs * side * side));  // before a GELU
  list.push_back(
      {name + ".weight", {outputs, inputs, side, side}, Init::normal(std), &convolution.weight});
  list.push_back({name + ".bias", {outputs}, Init::zeros(), &convolution.bias, "", false});
}

void list_table(const std::string& name, at::Tensor& table, int64_t rows, int64_t width,
                ParameterList& list) {
  list.push_back({name, {rows, width}, Init::normal(0.02), &table, "", /*decay=*/false});
}

void list_blocks(const char* name, std::vector<EncoderBlock>& blocks, const Config& config,
                 ParameterList& list) {
  blocks.resize(static_cast<size_t>(config.text_depth));
  for (size_t i = 0; i < blocks.size(); ++i)
    list_block(block_name(name, i), blocks[i], config, list);
}

at::Tensor run_blocks(const char* name, const std::vector<EncoderBlock>& blocks,
                      const Config& config, const at::Tensor& keys, at::Tensor x,
                      at::ScalarType compute) {
  BlockInputs inputs;
  inputs.self_keys = keys;
  ForwardOptions options;
  options.compute = compute;
  for (size_t i = 0; i < blocks.size(); ++i)
    x = run_block(blocks[i], block_name(name, i), config, inputs, x, options);
  return x;
}

/// The mean token's place in the shared space: (B, E) of length 1.
at::Tensor to_space(const Linear& head, const at::Tensor& mean) {
  const auto y = apply_linear(head, mean);
  return y / y.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-12);
}

}  // namespace

void validate(const ScorerConfig& config) {
  check_range("image_size", config.image_size, kPatch, 1024);
  check_arg(config.image_size % kPatch == 0, "validate(ScorerConfig)",
            "image_size: expected a multiple of ", kPatch, ", got ", config.image_size);
  check_range("text_vocabulary", config.text_vocabulary, 1, 1 << 20);
  check_range("max_text_tokens", config.max_text_tokens, 1, 4096);
  check_range("width", config.width, 4, 4096);
  check_arg(config.width % 4 == 0, "validate(ScorerConfig)",
            "width: expected a multiple of 4, got ", config.width);
  check_range("heads", config.heads, 1, 256);
  check_arg(config.width % config.heads == 0, "validate(ScorerConfig)",
            "heads: expected a divisor of width ", config.width, ", got ", config.heads);
  check_range("hidden", config.hidden, 1, 65536);
  check_range("picture_convolutions", config.picture_convolutions, 0, 64);
  check_range("picture_depth", config.picture_depth, 1, 256);
  check_range("text_depth", config.text_depth, 1, 256);
  check_range("space", config.space, 1, 65536);
}

ScorerModel scorer_layout(const ScorerConfig& config) {
  validate(config);
  ScorerModel model;
  model.config = config;
  return model;
}

ParameterList parameters(ScorerModel& model) {
  const ScorerConfig& config = model.config;
  const int64_t width = config.width, grid = config.image_size / kPatch;
  ParameterList list;
  const std::array<int64_t, 4> channels = {3, width / 4, width / 2, width};
  for (size_t i = 0; i < 3; ++i) {
    list_convolution("picture.stem." + std::to_string(i), model.stem[i], channels[i + 1],
                     channels[i], i == 0 ? 4 : 3, list);
  }
  model.convolutions.resize(static_cast<size_t>(config.picture_convolutions));
  for (size_t i = 0; i < model.convolutions.size(); ++i) {
    list_convolution("picture.convolutions." + std::to_string(i), model.convolutions[i], width,
                     width, 3, list);
  }
  list_table("picture.positions", model.picture_positions, grid * grid, width, list);
  list_blocks("picture", model.picture_blocks, tower(config, config.picture_depth), list);
  list_norm("picture.norm", model.picture_norm, width, "", list);
  list_linear("picture.head", model.picture_head, config.space, width, 1.0, "", list);

  list_table("text.embedding", model.text_embedding, config.text_vocabulary, width, list);
  list_table("text.positions", model.text_positions, config.max_text_tokens, width, list);
  list_blocks("text", model.text_blocks, tower(config, config.text_depth), list);
  list_norm("text.norm", model.text_norm, width, "", list);
  list_linear("text.head", model.text_head, config.space, width, 1.0, "", list);

  list.push_back({"log_scale", {1}, Init::zeros(), &model.log_scale, "", /*decay=*/false});
  return list;
}

ScorerModel make_scorer(const ScorerConfig& config, uint64_t seed, at::Device device) {
  ScorerModel model = scorer_layout(config);
  initialise(parameters(model), seed, device);
  return model;
}

at::Tensor embed_pictures(const ScorerModel& model, const at::Tensor& images,
                          at::ScalarType compute) {
  const ScorerConfig& config = model.config;
  const int64_t size = config.image_size;
  check_arg(images.dim() == 4 && images.scalar_type() == at::kFloat && images.size(1) == 3 &&
                images.size(2) == size && images.size(3) == size,
            "embed_pictures", "expected (B, 3, ", size, ", ", size, ") float32 pictures, got ",
            images.scalar_type(), " of shape ", images.sizes());
  const auto convolved = [compute](const Convolution& layer, const at::Tensor& input,
                                   int64_t stride, int64_t padding) {
    return at::conv2d(input, layer.weight.to(compute), layer.bias.to(compute), stride, padding);
  };
  at::Tensor x = (images * 2.0 - 1.0).to(compute);
  for (size_t i = 0; i < 3; ++i) {
    x = convolved(model.stem[i], x, kStrides[i], i == 0 ? 0 : 1);
    if (i < 2) x = at::gelu(x, "tanh");
  }
  for (const Convolution& layer : model.convolutions)
    x = x + at::gelu(convolved(layer, x, 1, 1), "tanh");
  x = x.flatten(2).transpose(1, 2).to(at::kFloat) + model.picture_positions;  // (B, h w, D)
  x = run_blocks("picture", model.picture_blocks, tower(config, config.picture_depth), {}, x,
                 compute);
  return to_space(model.picture_head, apply_norm(model.picture_norm, x, at::kFloat).mean(1));
}

at::Tensor embed_texts(const ScorerModel& model, const at::Tensor& ids, const at::Tensor& lengths,
                       at::ScalarType compute) {
  const ScorerConfig& config = model.config;
  check_arg(ids.dim() == 2 && ids.scalar_type() == at::kLong && ids.size(1) >= 1 &&
                ids.size(1) <= config.max_text_tokens,
            "embed_texts", "expected (B, 1..", config.max_text_tokens, ") int64 ids, got ",
            ids.scalar_type(), " of shape ", ids.sizes());
  check_arg(
      lengths.dim() == 1 && lengths.scalar_type() == at::kLong && lengths.size(0) == ids.size(0),
      "embed_texts", "expected (", ids.size(0), ") int64 lengths, got ", lengths.scalar_type(),
      " of shape ", lengths.sizes());
  if (ids.size(0) > 0) {
    const auto low = ids.min().item<int64_t>(), high = ids.max().item<int64_t>();
    check(low >= 0 && high < config.text_vocabulary, ErrorKind::kBadData,
          "embed_texts: expected ids in 0 to ", config.text_vocabulary - 1, ", got ",
          low < 0 ? low : high);
    check_arg(lengths.min().item<int64_t>() >= 1 && lengths.max().item<int64_t>() <= ids.size(1),
              "embed_texts", "expected lengths in 1 to ", ids.size(1), ", got ",
              lengths.min().item<int64_t>(), " to ", lengths.max().item<int64_t>());
  }
  const auto real =
      at::arange(ids.size(1), ids.options()).unsqueeze(0).lt(lengths.unsqueeze(1));  // (B, m)
  at::Tensor x = at::embedding(model.text_embedding, ids) +
                 model.text_positions.narrow(0, 0, ids.size(1));  // (B, m, D)
  x = run_blocks("text", model.text_blocks, tower(config, config.text_depth), real, x, compute);
  const auto last = apply_norm(model.text_norm, x, at::kFloat);
  const auto mean = last.masked_fill(real.logical_not().unsqueeze(2), 0.0).sum(1) /
                    lengths.unsqueeze(1).to(at::kFloat);  // (B, D)
  return to_space(model.text_head, mean);
}

at::Tensor contrastive_loss(const at::Tensor& pictures, const at::Tensor& captions,
                            const at::Tensor& log_scale, const at::Tensor& ignored) {
  const int64_t batch = pictures.size(0);
  check_arg(pictures.dim() == 2 && captions.dim() == 2 && pictures.size(1) == captions.size(1) &&
                batch >= 1 && captions.size(0) >= batch,
            "contrastive_loss", "expected (B, E) pictures and at least as many captions, got ",
            pictures.sizes(), " and ", captions.sizes());
  const auto scale = (log_scale.exp() / kTemperature).clamp_max(kLargestScale);
  at::Tensor logits = at::matmul(pictures, captions.t()) * scale;  // (B, C)
  if (ignored.defined()) {
    check_arg(ignored.sizes() == logits.sizes() && ignored.scalar_type() == at::kBool,
              "contrastive_loss", "expected ignored pairs ", logits.sizes(), " bool, got ",
              ignored.scalar_type(), " of shape ", ignored.sizes());
    logits = logits.masked_fill(ignored, -1e4);
  }
  const auto own = at::arange(batch, at::TensorOptions(at::kLong).device(logits.device()));
  const auto by_picture = at::cross_entropy_loss(logits, own);
  const auto by_caption = at::cross_entropy_loss(logits.narrow(1, 0, batch).t(), own);
  return (by_picture + by_caption) * 0.5;
}

}  // namespace lexel::ar
