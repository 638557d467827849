#pragma once

#include <ATen/ops/full.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "apps/train/generator/recipe.h"
#include "kernels/philox.h"
#include "tests/apps/train/tokenizer/made_pictures.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/picture_source.h"
#include "tokenizers/vit_vqgan_file.h"

// A picture tokenizer, things to compose, captioned pictures and a recipe for tests of generator training.

namespace lexel::tests {

/// 32 pixels, 4 x 4 tokens, 32 codes.
inline std::string made_tokenizer(const std::filesystem::path& path, uint64_t seed = 1) {
  vqgan::Config config = tiny_recipe().model;
  const vqgan::Model model = vqgan::make_model(config, seed, at::kCPU);
  Preprocess preprocess;
  preprocess.image_size = config.image_size;
  write_model_file(path.string(), vit_vqgan_file(model, preprocess));
  return path.string();
}

/// Eight things of one drawing each, in plain colours.
inline std::string made_sprites(const std::filesystem::path& path) {
  TarWriter tar(path.string());
  uint64_t seed = 0;
  for (const char* name : {"cat", "dog", "fish", "house", "tree", "car", "cup", "star"}) {
    RgbaImage picture{at::full({40, 40, 4}, 255, at::kByte)};
    Philox random(++seed);
    for (int64_t c = 0; c < 3; ++c)
      picture.pixels.select(2, c).fill_(int64_t(random.uniform_int(256)));
    const auto png = encode_rgba(picture);
    const std::string json = nlohmann::json({{"name", name},
                                             {"plural", std::string(name) + "s"},
                                             {"drawing", "made"},
                                             {"tintable", false}})
                                 .dump();
    tar.add(std::string(name) + ".png", png.data(), png.size());
    tar.add(std::string(name) + ".json", reinterpret_cast<const uint8_t*>(json.data()),
            json.size());
  }
  tar.close();
  return path.string();
}

/// `count` pictures of one set; captioned ones say "a red fish" or "a blue house". One in four is held out.
inline std::string made_captioned(const std::filesystem::path& path, const std::string& set,
                                  int64_t count, bool captioned = true) {
  TarWriter tar(path.string());
  for (int64_t i = 0; i < count; ++i) {
    const std::string key = set + std::to_string(i);
    const auto png = encode_image(made_picture(uint64_t(i), 40 + i % 3, 50), "png");
    tar.add(key + ".png", png.data(), png.size());
    nlohmann::json json = {{"set", set}, {"split", i % 4 == 3 ? "heldout" : "train"}};
    if (captioned) json["caption"] = i % 2 ? "a red fish" : "a blue house";
    const std::string text = json.dump();
    tar.add(key + ".json", reinterpret_cast<const uint8_t*>(text.data()), text.size());
  }
  tar.close();
  return path.string();
}

/// Learns in seconds.
inline train::GeneratorRecipe tiny_generator_recipe() {
  train::GeneratorRecipe recipe;
  recipe.model = {.text_depth = 1, .text_vocabulary = 311, .max_text_tokens = 24};
  recipe.model.depth = 2;
  recipe.model.width = 32;
  recipe.model.heads = 2;
  recipe.model.hidden = 64;
  recipe.model.grid_height = recipe.model.grid_width = 4;
  recipe.model.codebook_size = 32;
  recipe.model.conv_kernel = 3;
  recipe.schedule.steps = 12;
  recipe.schedule.batch = 4;
  recipe.schedule.learning_rate = 3e-3;
  recipe.schedule.warmup_steps = 3;
  recipe.schedule.average = 0.9;
  recipe.schedule.eval_steps = 6;
  recipe.schedule.log_every = 1;
  recipe.scenes = 30;
  recipe.compose.sizes = {8, 8, 8, 10};
  recipe.eval_scenes = 8;
  recipe.eval_pictures = 8;
  recipe.samples = 0;
  return recipe;
}

}  // namespace lexel::tests
