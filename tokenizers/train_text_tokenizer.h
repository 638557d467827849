#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel {

/// What a text tokenizer is trained to be.
struct TextTrainingOptions {
  int64_t vocabulary = 16'000;  // pieces wanted, symbols and 256 bytes included
  double character_coverage =
      0.9995;  // share of the captions' characters that get a piece; bytes for the rest
  bool case_folding = true;  // "Red Fish" and "red fish" are the same pieces
};

/// Parti's: 16,000 pieces. source  arXiv:2206.10789, section 2.2
TextTrainingOptions parti_text_options();

struct TrainedTextTokenizer {
  std::string serialized;  // text_tokenizer_from_bytes reads it
  int64_t vocabulary = 0;  // pieces it has
  bool clipped = false;    // fewer than were asked for: the captions do not justify more
};

/// Trains a SentencePiece unigram model with byte fallback: same captions in the same order, same bytes. Silent.
///
/// captions  UTF-8; empty ones are passed over; at least one must say something
/// throws    Error(kUsage) on no caption, or a vocabulary below the symbols, bytes and characters that
///           must be in it (the message says how many); Error(kBadData) on invalid UTF-8: "caption 3: ..."
/// source    Kudo 2018, arXiv:1804.10959
TrainedTextTokenizer train_text_tokenizer(const std::vector<std::string>& captions,
                                          const TextTrainingOptions& options);

}  // namespace lexel
