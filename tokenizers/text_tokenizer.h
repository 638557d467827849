#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lexel {

/// The symbols of a text tokenizer that are not text, as ids.
struct TextSymbols {
  int64_t padding = 0;    // fills a batch's rows behind their end
  int64_t end = 1;        // closes every caption
  int64_t beginning = 2;  // never written by encode; a decoder over text may start from it
  int64_t unknown = 3;    // never written by encode either: bytes stand for what has no piece
};

/// Captions to ids and back. Thread-safe for concurrent calls.
///
/// Text is normalised first (Unicode NFKC, white space to single spaces, control characters away, and case
/// folded where the model was trained so), then cut into pieces. A character without a piece becomes
/// the pieces of its bytes, so that no caption is unknown and every text, in any script, comes back.
class TextTokenizer {
 public:
  virtual ~TextTokenizer() = default;

  virtual int64_t vocabulary_size() const = 0;  // ids are in [0, vocabulary_size)
  virtual TextSymbols symbols() const = 0;

  /// The pieces of a text, without beginning or end symbol. An empty text has none.
  ///
  /// text     UTF-8 of any length; what looks like a symbol ("</s>") is text as any other
  /// throws   Error(kBadData) on bytes that are not UTF-8, saying at which byte
  virtual std::vector<int64_t> encode(std::string_view text) const = 0;

  /// The normalised text of ids; padding, beginning and end are passed over, and so is what follows the first end.
  /// Bytes that make no character (a caption cut inside of one) become U+FFFD.
  ///
  /// throws   Error(kBadData) on an id outside of [0, vocabulary_size)
  virtual std::string decode(const std::vector<int64_t>& ids) const = 0;

  /// The piece of an id as the model file writes it, "\u2581red" or "<0xC3>": for coverage and heat maps.
  /// throws   Error(kBadData) on an id outside of [0, vocabulary_size)
  virtual std::string piece(int64_t id) const = 0;
  virtual bool is_byte(
      int64_t id) const = 0;  // one of the 256 byte pieces; false outside the vocabulary

  /// The model as bytes: what load_text_tokenizer reads, and what rides in a generator's file.
  virtual const std::string& serialized() const = 0;
  /// SHA-256 of serialized(), hex: a generator and its scorer must agree on it to share ids.
  virtual const std::string& fingerprint() const = 0;
};

/// Captions as one batch of ids.
struct EncodedCaptions {
  at::Tensor ids;      // (B, max_tokens) int64, CPU: pieces, one end symbol, then padding
  at::Tensor lengths;  // (B) int64, CPU: ids before the padding, end included, in [1, max_tokens]
  std::vector<bool> cut;  // (B) the caption was longer and lost its tail (the caller warns)
  bool any_cut() const;
};

/// Encodes captions into rows of max_tokens ids. Each row ends with the end symbol, then padding; a caption that
/// is too long keeps its first max_tokens - 1 pieces and is marked. An empty caption is the end symbol
/// alone: with guidance, that is the unconditional row.
///
/// max_tokens  >= 1; 128 in Parti
/// throws      Error(kUsage) on max_tokens < 1; Error(kBadData) on invalid UTF-8: "caption 3: ..."
/// source      Yu et al. 2022, arXiv:2206.10789, section 2.2: SentencePiece 16,000, at most 128 tokens
EncodedCaptions encode_captions(const TextTokenizer& tokenizer,
                                const std::vector<std::string>& captions, int64_t max_tokens);

}  // namespace lexel
