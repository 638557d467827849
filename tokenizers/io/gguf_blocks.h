#pragma once

// Private to tokenizers/io.

#include <cstdint>

namespace lexel {

/// How a tensor type of a GGUF file lies in memory: blocks of `numbers` values in `bytes` bytes.
struct GgufBlocks {
  uint32_t type;  // its number in the file
  const char* name;
  uint64_t numbers, bytes;
  void (*dequantise)(const uint8_t* block, float* values);  // one block
};

/// The layout of a type, or nullptr for one that is not read.
///
/// source  ggml-org/ggml, src/ggml-common.h and ggml-quants.c (the meaning of each block's bytes)
const GgufBlocks* find_gguf_blocks(uint32_t type);

}  // namespace lexel
