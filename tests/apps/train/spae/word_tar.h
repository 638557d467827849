#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "spae/lexical_codebook.h"
#include "spae/semantic_guide.h"
#include "tests/support/random_tensor.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/picture_source.h"
#include "tokenizers/word_table.h"

namespace lexel::tests {

/// Twenty words with random vectors of 12 numbers.
inline WordTableFile small_table() {
  WordTableFile file;
  file.table.words = {"apple", "bread", "cat",    "door",  "egg",  "fish", "garden",
                      "hat",   "ice",   "jacket", "king",  "lamp", "moon", "night",
                      "ocean", "piano", "queen",  "river", "sun",  "tree"};
  file.table.ids = at::arange(100, 120, 1, at::kLong);
  file.table.vectors = random_tensor(3, {20, 12});
  return file;
}

constexpr int64_t kNamedWords = 10;  // of the table, that captions use

/// A drawing for every pair of the first ten words, its halves in the two words' colours; eight photos, two of them held out.
inline void write_word_tar(const std::string& path) {
  TarWriter tar(path);
  const auto words = small_table().table.words;
  const auto add = [&tar](const std::string& key, const std::vector<uint8_t>& png,
                          const nlohmann::json& about) {
    const std::string json = about.dump();
    tar.add(key + ".png", png.data(), png.size());
    tar.add(key + ".json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
  };
  for (int64_t i = 0; i < kNamedWords; ++i) {
    for (int64_t j = i + 1; j < kNamedWords; ++j) {
      RgbaImage image{at::empty({20, 24, 4}, at::kByte)};
      auto* out = image.pixels.mutable_data_ptr<uint8_t>();
      for (int64_t p = 0; p < 20 * 24; ++p) {
        const int64_t word = p % 24 < 12 ? i : j;
        *out++ = static_cast<uint8_t>(25 * word);
        *out++ = static_cast<uint8_t>(255 - 25 * word);
        *out++ = static_cast<uint8_t>(word % 3 * 100);
        *out++ = 255;
      }
      add("drawing" + std::to_string(i * kNamedWords + j), encode_rgba(image),
          {{"kind", "emoji"},
           {"caption", words[size_t(i)] + " and " + words[size_t(j)]},
           {"keywords", {words[size_t((i + j) % kNamedWords)]}},
           {"split", "train"}});
    }
  }
  for (int64_t i = 0; i < 8; ++i) {
    const at::Tensor noise = random_uniform(100 + uint64_t(i), {3, 30, 40});
    add("photo" + std::to_string(i), encode_image(to_image(noise), "png"),
        {{"kind", "photo"}, {"split", i < 2 ? "heldout" : "train"}});
  }
  tar.close();
}

/// A guide of random weights that sees pictures of 32 pixels.
inline spae::DualEncoder small_guide() {
  spae::GuideConfig config;
  config.image_size = 32;
  config.hidden = 16;
  config.word_width = 12;
  spae::DualEncoder guide = spae::dual_encoder_layout(config);
  uint64_t seed = 1;
  for (const Parameter& parameter : all_parameters(guide)) {
    int64_t inputs = 1;
    for (size_t i = 1; i < parameter.shape.size(); ++i) inputs *= parameter.shape[i];
    *parameter.tensor = random_tensor(seed++, parameter.shape) * (1.2 / std::sqrt(double(inputs)));
  }
  return guide;
}

}  // namespace lexel::tests
