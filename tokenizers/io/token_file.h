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
  std::string name;  // as the input named it
  Layout layout;     // make_layout(width, height, preprocess)
  at::Tensor
      tokens;  // (tiles, TokenFile::tokens()) int32, CPU: row-major, of a pyramid layer by layer
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
/// lexel.classes (JSON list of numbers), and for a pyramid lexel.layers (JSON list of its sides).
struct TokenFile {
  std::string tokenizer_kind;               // "vit_vqgan"
  std::string codebook_fingerprint;         // SHA-256 of the codebook, hex
  std::string model_name;                   // file name of the model, for messages only
  int64_t codebook_size = 0;                // K; every id is in [0, K)
  int64_t grid_height = 0, grid_width = 0;  // positions of one tile
  Preprocess preprocess;
  std::vector<TokenizedPicture> pictures;
  std::vector<int64_t> layer_sides =
      {};  // of a pyramid: the layers that the tokens are of, from the top; else empty

  int64_t tokens() const;  // of one tile
};

/// A token file of this tokenizer's, without pictures so far.
///
/// layers   of a pyramid: how many the tokens are of; 0: all
/// throws   Error(kUsage) layers of a tokenizer that has none, or more than it has
TokenFile empty_token_file(const TokenizerInfo& info, int64_t layers = 0);

/// The same with fewer layers of a pyramid.
/// throws   Error(kUsage) a file without layers, or a number that is not in 1 .. its layers
TokenFile first_layers(const TokenFile& file, int64_t layers);

inline constexpr int kTokenFormat = 1;  // `lexel.format` of what write_token_file writes

/// throws   Error(kIo); Error(kBadData) not a token file, ids past the codebook or a checksum that does not
///          match (the picture is named), offsets, sizes, names or captions that contradict; Error(kUnsupported) a
///          newer format
TokenFile read_token_file(const std::string& path);

/// Writes atomically.
/// throws   Error(kUsage) a picture whose layout or tokens do not fit the rest; Error(kIo)
void write_token_file(const std::string& path, const TokenFile& file);

/// Other forms for pipes, for reading only: "npy" (one row of ids a picture; all of one length), "json" (with
/// names and sizes), "text" (one line of ids a picture; of words: word_text.h).
///
/// throws   Error(kUsage) another format, or "npy" of pictures with different numbers of tiles; what
///          write_token_file throws
std::string format_tokens(const TokenFile& file, const std::string& format);

/// Nothing if this model can decode the tokens.
/// throws   Error(kBadData) naming both models, when the codebook, its size, the grid, the layers or the picture size
///          differ; the first layers of the model's pyramid will do
void check_same_tokenizer(const TokenFile& file, const TokenizerInfo& info);

}  // namespace lexel
