#include "spae/model.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <algorithm>
#include <utility>

#include "kernels/check.h"

namespace lexel::spae {
namespace {

void check_pictures(const Model& model, const at::Tensor& images, const at::Tensor& features,
                    const char* function) {
  const int64_t size = model.config.image_size, width = model.config.feature_width;
  check_arg(images.dim() == 4 && images.size(1) == 3 && images.size(2) == size &&
                images.size(3) == size && images.scalar_type() == at::kFloat,
            function, "expected (B, 3, ", size, ", ", size, ") float32 images, got ",
            images.scalar_type(), " of shape ", images.sizes());
  if (width == 0) {
    check_arg(!features.defined(), function,
              "expected no features, this model has no semantic path");
    return;
  }
  check_arg(
      features.defined() && features.dim() == 2 && features.size(0) == images.size(0) &&
          features.size(1) == width && features.scalar_type() == at::kFloat,
      function, "expected (", images.size(0), ", ", width, ") float32 features, got ",
      features.defined() ? concat(features.scalar_type(), " of shape ", features.sizes()) : "none");
}

at::Tensor pictures_of(const Model& model, const at::Tensor& results,
                       const std::vector<int64_t>& layers, at::ScalarType compute) {
  const at::Tensor inputs =
      decoder_input(model.pyramid, results, layers, model.config.unvisited == "nearest");
  return model.config.body == "cnn" ? cnn_pictures(model.cnn, model.config, inputs, compute)
                                    : vit_pictures(model.vit, model.config, inputs, compute);
}

/// Calls run(k) for each picture, each on one thread: see vqgan/model.cpp.
template <class Run>
void for_each_picture(int64_t batch, Run&& run) {
  at::parallel_for(0, std::max<int64_t>(batch, 2), 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;  // of this thread
    for (int64_t k = begin; k < std::min(end, batch); ++k) run(k);
  });
}

/// (B, P, D): of each picture the result after so many layers.
at::Tensor results_after(const std::vector<LayerChoice>& choices,
                         const std::vector<int64_t>& layers, int64_t batch) {
  if (layers.size() == 1) return choices[static_cast<size_t>(layers.front() - 1)].result;
  std::vector<at::Tensor> rows;
  for (int64_t k = 0; k < batch; ++k) {
    const auto last = static_cast<size_t>(layers[static_cast<size_t>(k)] - 1);
    rows.push_back(choices[last].result.select(0, k));
  }
  return at::stack(rows);
}

}  // namespace

Model model_layout(const Config& config) {
  validate(config);
  Model model;
  model.config = config;
  model.pyramid = make_pyramid(numbers("sides", config.sides));
  return model;
}

ParameterList parameters(Model& model) {
  ParameterList list;
  const Config& config = model.config;
  const bool cnn = config.body == "cnn";
  cnn ? list_cnn_encoder(model.cnn, config, list) : list_vit_encoder(model.vit, config, list);
  list_semantic_path(model.semantic_path, config, model.pyramid, list);
  list.push_back({"words.codes",
                  {config.num_words, config.code_width},
                  Init::zeros(),
                  &model.codebook.codes,
                  "words",
                  /*decay=*/false,
                  /*trained=*/false});
  cnn ? list_cnn_decoder(model.cnn, config, list) : list_vit_decoder(model.vit, config, list);
  return list;
}

Model make_model(const Config& config, LexicalCodebook codebook, uint64_t seed, at::Device device) {
  validate(codebook);
  check_arg(static_cast<int64_t>(codebook.words.size()) == config.num_words &&
                codebook.codes.size(1) == config.code_width,
            "spae::make_model", "expected ", config.num_words, " words with codes of ",
            config.code_width, ", got ", codebook.words.size(), " with codes of ",
            codebook.codes.size(1));
  Model model = model_layout(config);
  initialise(parameters(model), seed, device);
  if (model.semantic_path.rows.defined())
    model.semantic_path.rows.copy_(at::arange(config.semantic_words, at::kFloat));
  codebook.codes = codebook.codes.detach().to(device).contiguous();
  if (codebook.semantics.defined()) codebook.semantics = codebook.semantics.detach().to(device);
  model.codebook = std::move(codebook);
  return model;
}

at::Tensor encode_latents(const Model& model, const at::Tensor& images, const at::Tensor& features,
                          at::ScalarType compute) {
  const Config& config = model.config;
  at::Tensor latents = config.body == "cnn" ? cnn_latents(model.cnn, config, images, compute)
                                            : vit_latents(model.vit, config, images, compute);
  if (config.feature_width > 0) {
    latents = apply_semantic_path(model.semantic_path, config, model.pyramid, latents, features,
                                  model.codebook.codes);
  }
  return config.normalize_latents ? unit_rows(latents) : latents;
}

Forward forward(const Model& model, const at::Tensor& images, const ForwardOptions& options) {
  const char* const name = "spae::forward";
  check_pictures(model, images, options.features, name);
  check_arg(options.compute == at::kFloat || options.compute == at::kBFloat16, name,
            "expected compute float32 or bfloat16, got ", options.compute);
  check_arg(options.quantization >= 0.0 && options.quantization <= 1.0, name,
            "expected quantization of 0 to 1, got ", options.quantization);
  const int64_t batch = images.size(0), all = model.pyramid.layers();
  const std::vector<int64_t> layers =
      options.layers.empty() ? std::vector<int64_t>{all} : options.layers;
  check_arg(layers.size() == 1 || static_cast<int64_t>(layers.size()) == batch, name,
            "expected one number of layers or ", batch, ", got ", layers.size());
  for (const int64_t n : layers) {
    check_arg(n >= 1 && n <= all, name, "expected 1 to ", all, " layers, got ", n);
  }
  Forward result;
  result.latents = encode_latents(model, images, options.features, options.compute);
  result.choices = quantize(model.pyramid, quantizer_rule(model.config.quantizer), result.latents,
                            model.codebook.codes, all);
  const at::Tensor words = results_after(result.choices, layers, batch);
  const at::Tensor through =
      result.latents + options.quantization * (words - result.latents).detach();
  result.pictures = pictures_of(model, through, layers, options.compute);
  return result;
}

at::Tensor encode(const Model& model, const at::Tensor& images, const at::Tensor& features,
                  int64_t layers) {
  check_pictures(model, images, features, "spae::encode");
  if (layers == 0) layers = model.pyramid.layers();
  check_arg(layers >= 1 && layers <= model.pyramid.layers(), "spae::encode", "expected 1 to ",
            model.pyramid.layers(), " layers, got ", layers);
  const at::NoGradGuard no_grad;
  const QuantizerRule rule = quantizer_rule(model.config.quantizer);
  at::Tensor latents;  // (B, P, D)
  if (images.is_cpu()) {
    const int64_t positions = model.pyramid.grid() * model.pyramid.grid();
    latents = at::empty({images.size(0), positions, model.config.code_width}, at::kFloat);
    for_each_picture(images.size(0), [&](int64_t k) {
      const at::Tensor known = features.defined() ? features.narrow(0, k, 1) : features;
      latents.narrow(0, k, 1).copy_(
          encode_latents(model, images.narrow(0, k, 1), known, at::kFloat));
    });
  } else {
    latents = encode_latents(model, images, features, at::kFloat);
  }
  // All pictures in one look-up, which promises each picture its own result.
  return quantize_ids(model.pyramid, rule, latents, model.codebook.codes, layers);
}

at::Tensor decode(const Model& model, const at::Tensor& ids) {
  check_arg(ids.dim() == 2 && ids.scalar_type() == at::kLong, "spae::decode",
            "expected (B, tokens) int64 ids, got ", ids.scalar_type(), " of shape ", ids.sizes());
  const at::NoGradGuard no_grad;
  const int64_t layers = model.pyramid.layers_of(ids.size(1));
  if (ids.numel() > 0) {
    const auto low = ids.min().item<int64_t>(), high = ids.max().item<int64_t>();
    check(low >= 0 && high < model.config.num_words, ErrorKind::kBadData,
          "spae::decode: expected ids in 0 to ", model.config.num_words - 1, ", got ",
          low < 0 ? low : high);
  }
  const QuantizerRule rule = quantizer_rule(model.config.quantizer);
  const auto draw = [&](const at::Tensor& rows) {
    const auto results = result_of_ids(model.pyramid, rule, rows, model.codebook.codes);
    return pictures_of(model, results, {layers}, at::kFloat).clamp(0.0, 1.0);
  };
  if (!ids.is_cpu()) return draw(ids);
  const int64_t size = model.config.image_size;
  const auto pictures = at::empty({ids.size(0), 3, size, size}, at::kFloat);
  for_each_picture(ids.size(0),
                   [&](int64_t k) { pictures.narrow(0, k, 1).copy_(draw(ids.narrow(0, k, 1))); });
  return pictures;
}

}  // namespace lexel::spae
