#pragma once

#include <cstdint>

#include "tests/vqgan/tiny_model.h"
#include "tokenizers/io/preprocess.h"
#include "vqgan/model.h"

namespace lexel::tests {

/// A random model of tiny_config(), some 10,000 numbers.
inline vqgan::Model tiny_model(uint64_t seed) {
  return vqgan::make_model(tiny_config(), seed, at::kCPU);
}

inline Preprocess tiny_preprocess() {
  Preprocess preprocess;
  preprocess.image_size = 16;
  return preprocess;
}

}  // namespace lexel::tests
