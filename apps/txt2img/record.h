#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "autoregressive/generate.h"
#include "kernels/linear_decode.h"
#include "tokenizers/io/png_text.h"

namespace lexel::cli {

/// A model as a picture remembers it.
struct ModelStamp {
  std::string name;         // of its file, for messages
  std::string fingerprint;  // model_fingerprint, hex; empty: no such model took part
};

/// How a picture was drawn: all that is needed to draw it again, in its PNG file.
struct Record {
  std::string caption;
  int64_t picture = 0;           // number: of the random stream
  ar::GenerateOptions sampling;  // the seed in it
  std::string precision = "int8";
  ModelStamp generator, tokenizer, scorer, upscaler;

  std::vector<double>
      scores;  // of all candidates, this one's first, then as they were drawn; empty: not ranked
  std::string photo, mask;  // of an edit: pixels_fingerprint; empty: none
  int64_t keep_top = 0;     // of an edit: rows of tokens that were kept

  std::string tokens;  // tokens_fingerprint of what was drawn
  double mean_log_probability =
      0.0;  // nats a token, with guidance and all, over the tokens that were drawn
};

inline constexpr const char* kRecordKeyword = "Lexel";  // of the text chunk with the record, JSON

/// Text chunks for a PNG file: "Description" (the caption), "Software" and kRecordKeyword.
PngText to_png_text(const Record& record);

/// The record of a picture's text.
///
/// name     of the picture, for messages
/// throws   Error(kBadData) no record, or one that cannot be (the key is named); Error(kUnsupported) a newer format
Record record_from_png_text(const PngText& text, const std::string& name);

/// "int8", "bf16", "fp32". throws  Error(kUsage) on another
kernels::WeightFormat weight_format(const std::string& precision);
at::ScalarType cache_type(const std::string& precision);
std::string cache_name(at::ScalarType type);

/// SHA-256, hex, of tokens as int32 little-endian, and of a picture's size and pixels.
std::string tokens_fingerprint(const at::Tensor& tokens);
std::string pixels_fingerprint(const Image& image);

}  // namespace lexel::cli
