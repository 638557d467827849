#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizers/io/preprocess.h"

namespace lexel {

/// One picture of a token file.
struct TokenizedPicture {
  std::string name;   // as the input named it
  Layout layout;      // original size and tiles
  at::Tensor tokens;  // (tiles, tokens per tile) int32, CPU
};

/// Pictures as tokens, with all that is needed to check and decode them. On disk a .safetensors file:
/// `tokens` (uint16, or int32 for codebooks past 65,536) of all pictures one after the other, `offsets`,
/// `layouts`, `checksums` (CRC-32 a picture), names in the metadata.
struct TokenFile {
  std::string tokenizer_kind;       // "vit_vqgan"
  std::string codebook_fingerprint;  // SHA-256 of the codebook, hex
  std::string model_name;           // file name of the model, for messages only
  int64_t codebook_size = 0;        // K; every id is in [0, K)
  int64_t grid_height = 0, grid_width = 0;  // tokens of one tile
  Preprocess preprocess;
  std::vector<TokenizedPicture> pictures;
};

/// throws   Error(kBadData): ids past the codebook, a checksum that does not match (the picture is named),
///          offsets or layouts that contradict; Error(kIo)
TokenFile read_token_file(const std::string& path);
void write_token_file(const std::string& path, const TokenFile& file);  // atomically

/// Other forms for pipes: "npy" (all pictures of one shape only), "json", "text" (one line a picture: ids).
std::string format_tokens(const TokenFile& file, const std::string& format);

}  // namespace lexel
