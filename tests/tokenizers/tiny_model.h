#pragma once

#include <cstdint>

#include "tokenizers/io/preprocess.h"
#include "vqgan/model.h"

namespace lexel::tests {

/// A random ViT-VQGAN of some 10,000 numbers: 16 pixels, 4 x 4 tokens, 32 codes.
inline vqgan::Model tiny_model(uint64_t seed) {
  vqgan::Config config;
  config.image_size = 16;
  config.patch_size = 4;
  config.codebook_size = 32;
  config.code_width = 8;
  for (vqgan::StackConfig* stack : {&config.encoder, &config.decoder}) {
    stack->depth = 1;
    stack->width = 16;
    stack->heads = 2;
    stack->head_width = 8;
    stack->hidden = 32;
  }
  return vqgan::make_model(config, seed, at::kCPU);
}

inline Preprocess tiny_preprocess() {
  Preprocess preprocess;
  preprocess.image_size = 16;
  return preprocess;
}

}  // namespace lexel::tests
