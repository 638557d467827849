#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lexel {

class GgufFile;

/// Text to the ids of a language model and back: byte pair encoding over the bytes of UTF-8, as GPT-2 and SmolLM do it.
/// Nothing is normalised: every text comes back byte for byte. Thread-safe for concurrent calls.
///
/// source  Sennrich et al. 2016, arXiv:1508.07909, algorithm 1; over bytes: Radford et al. 2019 (GPT-2), section 2.2
class BytePairTokenizer {
 public:
  /// From a GGUF file's "tokenizer.ggml.*": model "gpt2" with the rules of "smollm", "starcoder", "gpt-2" or "default".
  ///
  /// throws  Error(kUnsupported) another model or rule; Error(kBadData) tokens missing, empty or twice, a merge whose parts or
  ///         result are no tokens, types or special ids that do not fit
  explicit BytePairTokenizer(const GgufFile& file);
  ~BytePairTokenizer();
  BytePairTokenizer(BytePairTokenizer&&) noexcept;
  BytePairTokenizer& operator=(BytePairTokenizer&&) noexcept;

  int64_t vocabulary_size() const;
  int64_t end() const;  // the id that closes a text; a model that writes it is done
  /// The id that a text begins with, or -1 for a model that wants none.
  int64_t beginning() const;

  /// The ids of a text, in O(n log n), without beginning or end. What looks like a symbol ("<|im_end|>") is text as any
  /// other. A byte that the vocabulary lacks (none in text of the common scripts) is passed over.
  ///
  /// text     UTF-8 of any length
  /// throws   Error(kBadData) on bytes that are not UTF-8, saying at which byte
  std::vector<int64_t> encode(std::string_view text) const;

  /// The bytes of ids; symbols are passed over. A text cut inside of a character ends in broken UTF-8.
  ///
  /// throws   Error(kBadData) on an id outside of [0, vocabulary_size)
  std::string decode(const std::vector<int64_t>& ids) const;

 private:
  struct Tables;
  std::unique_ptr<const Tables> tables_;
};

}  // namespace lexel
