#pragma once

#include <ATen/ops/arange.h>
#include <string>

#include "spae/lexical_codebook.h"
#include "spae/model.h"
#include "tests/support/random_tensor.h"

namespace lexel::tests {

/// Words "w0", "w1" ... with random codes; ids are 100, 103, 106 ...
inline spae::LexicalCodebook random_words(uint64_t seed, int64_t count, int64_t width) {
  spae::LexicalCodebook codebook;
  for (int64_t k = 0; k < count; ++k) codebook.words.push_back("w" + std::to_string(k));
  codebook.ids = at::arange(100, 100 + 3 * count, 3, at::kLong);
  codebook.semantics = spae::unit_rows(random_tensor(seed, {count, 12}));
  codebook.codes = spae::unit_rows(random_tensor(seed + 1, {count, width}));
  return codebook;
}

/// 16 x 16 pixels, layers of 1, 2, 4 and 4 positions a side (37 tokens), 40 words of width 8; either body.
inline spae::Config tiny_spae(const std::string& body) {
  spae::Config config;
  config.image_size = 16;
  config.sides = "1 2 4 4";
  config.num_words = 40;
  config.code_width = 8;
  config.body = body;
  config.cnn = {8, "1 2 2", 1, 4};
  config.vit.patch_size = 8;
  for (vqgan::StackConfig* stack : {&config.vit.encoder, &config.vit.decoder}) {
    stack->depth = 1;
    stack->width = 16;
    stack->heads = 2;
    stack->head_width = 8;
    stack->hidden = 32;
  }
  return config;
}

/// The same with everything that a config can ask for.
inline spae::Config tiny_spae_with_options(const std::string& body) {
  spae::Config config = tiny_spae(body);
  config.unvisited = "nearest";
  config.feature_width = 6;
  config.feature_hidden = 10;
  config.feature_layers = 2;
  config.vit.stem_width = 6;
  config.vit.stem_depth = 1;
  config.vit.refine_width = 6;
  config.vit.refine_depth = 1;
  return config;
}

inline spae::Model tiny_spae_model(const spae::Config& config, uint64_t seed = 1) {
  return spae::make_model(config, random_words(seed, config.num_words, config.code_width), seed,
                          at::kCPU);
}

}  // namespace lexel::tests
