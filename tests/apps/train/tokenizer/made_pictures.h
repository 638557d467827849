#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "apps/train/tokenizer/recipe.h"
#include "kernels/philox.h"
#include "tests/support/random_tensor.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/picture_source.h"
#include "tokenizers/io/preprocess.h"

// Pictures and a recipe for tests of training.

namespace lexel::tests {

/// A smooth picture with an edge in it: noise of 6 x 5 scaled up, a different one for each seed.
inline Image made_picture(uint64_t seed, int64_t height, int64_t width) {
  const at::Tensor coarse = random_uniform(seed, {3, 6, 5});
  const at::Tensor smooth = resize(coarse, height, width, "bicubic").clamp(0, 1).contiguous();
  smooth.slice(2, 0, 1 + int64_t(seed * 7 % uint64_t(width))).mul_(0.5);
  return to_image(smooth);
}

/// A tar of `count` pictures with a json each, as `lexel data fetch` packs them.
inline std::string made_tar(const std::filesystem::path& path, const std::string& set,
                            bool held_out, int64_t count, uint64_t first_seed) {
  TarWriter tar(path.string());
  for (int64_t i = 0; i < count; ++i) {
    const std::string key = set + std::to_string(i);
    const auto png = encode_image(made_picture(first_seed + uint64_t(i), 70 + i % 3, 80), "png");
    tar.add(key + ".png", png.data(), png.size());
    const std::string json =
        nlohmann::json({{"set", set}, {"split", held_out ? "heldout" : "train"}}).dump();
    tar.add(key + ".json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
  }
  tar.close();
  return path.string();
}

/// A model that trains in seconds: 32 pixels, 16 tokens, 32 codes.
inline train::TrainRecipe tiny_recipe() {
  train::TrainRecipe recipe;
  vqgan::Config& model = recipe.model;
  model.image_size = 32;
  for (vqgan::StackConfig* stack : {&model.encoder, &model.decoder}) {
    *stack = {.depth = 1, .width = 32, .heads = 1, .head_width = 32, .hidden = 64};
  }
  model.codebook_size = 32;
  model.code_width = 8;
  model.linear_path = true;
  model.refine_width = 8;
  model.refine_depth = 1;
  model.conv_stride = 4;
  recipe.steps = 20;
  recipe.batch = 4;
  recipe.compute = "fp32";
  recipe.min_side = recipe.crop_min_side = 32;
  recipe.warmup_steps = 4;
  recipe.start_crops = 64;
  recipe.kmeans_rounds = 3;
  recipe.restart_unused_for = 5;
  recipe.restart_every = 3;
  recipe.eval_steps = 10;
  recipe.eval_pictures = 8;
  recipe.log_every = 1;
  return recipe;
}

}  // namespace lexel::tests
