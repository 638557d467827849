#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numbers>

#include "apps/spool.h"
#include "apps/txt2img/heat_picture.h"
#include "apps/txt2img/options.h"
#include "autoregressive/generator_file.h"
#include "autoregressive/prompts.h"
#include "autoregressive/text_to_image.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/preprocess.h"
#include "tokenizers/load.h"

namespace lexel::cli {
namespace {

std::string words(const HeatmapOptions& options, const at::Tensor& values) {
  const double mean = values.mean().item<double>();
  char text[256];
  std::snprintf(
      text, sizeof text, ": ln p of a token: mean %.3f (%.2f bits), lowest %.3f, highest %.3f\n",
      mean, -mean / std::numbers::ln2, values.min().item<double>(), values.max().item<double>());
  return options.picture + text;
}

std::string json(const HeatmapOptions& options, const at::Tensor& values) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const at::Tensor& row : values.unbind(0)) {
    rows.emplace_back(std::vector<double>(row.const_data_ptr<double>(),
                                          row.const_data_ptr<double>() + row.numel()));
  }
  const nlohmann::ordered_json out = {{"picture", options.picture},
                                      {"caption", options.caption},
                                      {"mean_log_likelihood", values.mean().item<double>()},
                                      {"log_likelihoods", rows}};
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

int run_heatmap(const HeatmapOptions& options) {
  if (!options.output.empty()) {
    const AtomicFile trial(options.output);  // what cannot be written is found out before the work
  }
  const at::NoGradGuard no_grad;
  const at::Device device = resolve_device(options.device);
  const Image photo = read_image(options.picture);
  const ar::Generator generator = ar::load_generator(options.model, device);
  const auto tokenizer = load_image_tokenizer(options.tokenizer, options.device);
  const TokenizerInfo& info = tokenizer->info();
  check_same_tokenizer(generator, options.model, info);

  const ar::Config& config = generator.model.config;
  const ar::Prompts prompts =
      ar::read_prompts(config, generator.text.get(), {options.caption}, device);
  if (!options.caption.empty() && !prompts.warnings[0].empty())
    std::cerr << "lexel heatmap: the caption " << prompts.warnings[0] << "\n";
  Preprocess preprocess = info.preprocess;
  preprocess.fit = "crop";
  const at::Tensor tile = prepare(photo, preprocess).tiles;      // (1, 3, S, S)
  const at::Tensor tokens = tokenizer->encode(tile).to(device);  // (1, N)
  const at::Tensor values = ar::token_log_likelihoods(generator.model, prompts.given, tokens)
                                .cpu()
                                .to(at::kDouble)
                                .view({config.grid_height, config.grid_width});
  const double mean = values.mean().item<double>();
  check(std::isfinite(mean), ErrorKind::kBadData, options.model,
        ": gives likelihoods that are not finite");
  if (!options.output.empty()) {
    char title[64];
    std::snprintf(title, sizeof title, "ln p of each token, mean %.2f", mean);
    write_image(options.output, heat_picture(tile.squeeze(0), values, title));
  }
  write_stdout(options.json ? json(options, values) : words(options, values));
  return 0;
}

}  // namespace lexel::cli
