#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "tokenizers/io/preprocess.h"

namespace lexel {

struct TokenizerInfo;

/// One picture of a token file.
struct TokenizedPicture {
  std::string name;          // as the input named it
  Layout layout;             // make_layout(width, height, preprocess)
  at::Tensor tokens;         // (tiles, grid_height * grid_width) int32, CPU, row-major
  std::string caption = {};  // what the picture shows, UTF-8; empty: not known
  int64_t label = -1;        // its class, from 0; -1: none
};

/// Pictures as tokens, with all that is needed to check and decode them. On disk a .safetensors file:
///   tokens     (T, N) uint16, or int32 for codebooks past 65,536: the tiles of all pictures, one after the other
///   offsets    (P + 1) int64: picture k has the rows offsets[k] to offsets[k + 1]
///   sizes      (P, 2) int64: width and height of the originals, pixels; the layout follows from them
///   checksums  (P) int64: CRC-32 of a picture's ids, as int32 little-endian
/// and in its metadata lexel.kind = "tokens", lexel.format, lexel.config (the fields below, JSON),
/// lexel.preprocess (JSON) and lexel.names (JSON list); where a picture has one, lexel.captions (JSON list of texts) and
/// lexel.classes (JSON list of numbers).
struct TokenFile {
  std::string tokenizer_kind;               // "vit_vqgan"
  std::string codebook_fingerprint;         // SHA-256 of the codebook, hex
  std::string model_name;                   // file name of the model, for messages only
  int64_t codebook_size = 0;                // K; every id is in [0, K)
  int64_t grid_height = 0, grid_width = 0;  // tokens of one tile
  Preprocess preprocess;
  std::vector<TokenizedPicture> pictures;
};

/// A token file of this tokenizer's, without pictures so far.
TokenFile empty_token_file(const TokenizerInfo& info);

inline constexpr int kTokenFormat = 1;  // `lexel.format` of what write_token_file writes

/// throws   Error(kIo); Error(kBadData) not a token file, ids past the codebook or a checksum that does not
///          match (the picture is named), offsets, sizes, names or captions that contradict; Error(kUnsupported) a
///          newer format
TokenFile read_token_file(const std::string& path);

/// Writes atomically.
/// throws   Error(kUsage) a picture whose layout or tokens do not fit the rest; Error(kIo)
void write_token_file(const std::string& path, const TokenFile& file);

/// Other forms for pipes, for reading only: "npy" (one row of ids a picture; all of one length), "json" (with
/// names and sizes), "text" (one line of ids a picture).
///
/// throws   Error(kUsage) another format, or "npy" of pictures with different numbers of tiles; what
///          write_token_file throws
std::string format_tokens(const TokenFile& file, const std::string& format);

/// Nothing if this model can decode the tokens.
/// throws   Error(kBadData) naming both models, when the codebook, its size, the grid or the picture size differ
void check_same_tokenizer(const TokenFile& file, const TokenizerInfo& info);

}  // namespace lexel
