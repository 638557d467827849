#pragma once

#include "autoregressive/generator_file.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tests/vqgan/tiny_model.h"
#include "tokenizers/sentencepiece_tokenizer.h"
#include "tokenizers/vit_vqgan_file.h"

namespace lexel::tests {

/// A picture tokenizer of 128 pixels, 8 x 8 tokens of 32 codes.
inline vqgan::Model tiny_picture_model() {
  vqgan::Config config = tiny_config();
  config.image_size = 128;
  config.patch_size = 16;
  return vqgan::make_model(config, 1, at::kCPU);
}

inline ModelFile tiny_picture_file(const vqgan::Model& model) {
  Preprocess preprocess;
  preprocess.image_size = model.config.image_size;
  return vit_vqgan_file(model, preprocess);
}

/// A generator of its tokens with random weights.
inline ar::Generator tiny_generator(const vqgan::Model& pictures, uint64_t seed = 1) {
  ar::Generator generator;
  generator.text = text_tokenizer_from_bytes(english_model(), "test");
  generator.codebook_fingerprint = codebook_fingerprint(pictures);
  generator.tokenizer_name = "tiny";
  ar::Config config;
  config.text_depth = config.depth = 1;
  config.text_vocabulary = generator.text->vocabulary_size();
  config.max_text_tokens = 24;
  config.width = 64;
  config.heads = 2;
  config.hidden = 128;
  config.grid_height = config.grid_width = 8;
  config.codebook_size = pictures.config.codebook_size;
  config.conv_kernel = 3;
  generator.model = ar::make_model(config, seed, at::kCPU);
  return generator;
}

}  // namespace lexel::tests
