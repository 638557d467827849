#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

namespace lexel::spae {

/// Words of a language model's vocabulary with vectors of any length, as a table file holds them.
struct WordTable {
  std::vector<std::string> words;  // UTF-8, each once
  at::Tensor ids;                  // (K) int64: of the language model's vocabulary, each once
  at::Tensor vectors;              // (K, S) float32
};

/// The frozen codebook: K words, each with a vector for what it means and a shorter one for the quantizer.
struct LexicalCodebook {
  std::vector<std::string> words;  // UTF-8, each once, without blanks
  at::Tensor ids;                  // (K) int64: of the language model's vocabulary, each once
  at::Tensor
      semantics;     // (K, S) float32, unit rows; undefined in a model that was read from a file
  at::Tensor codes;  // (K, width) float32, unit rows: where the quantizer looks
  std::string fingerprint;  // SHA-256 of words, ids and codes, hex: tokenizers/spae_file.h fills it
};

/// Which words of a vocabulary are of use.
struct WordRule {
  int64_t min_letters = 1;           // bytes
  int64_t max_letters = 64;          // bytes
  bool lower_case = false;           // a to z alone
  std::vector<std::string> only;     // these words and no others; empty: all
  std::vector<std::string> without;  // these not
};

/// A rule as text, a line each: "min_letters N", "max_letters N", "lower_case", "only WORD...", "without WORD..."; the last
/// two may come several times. "#" starts a comment, empty lines do not count.
///
/// name     of the file, for messages
/// throws   Error(kBadData) naming the line
WordRule parse_word_rule(const std::string& text, const std::string& name);

/// The words that the rule keeps, in their order.
/// throws   Error(kBadData) when none is left, or when `only` names a word that is not there
WordTable restricted(const WordTable& table, const WordRule& rule);

/// Rows divided by their length (by 1e-12 where that is less), float32.
at::Tensor unit_rows(const at::Tensor& rows);

/// From word vectors to the quantizer's codes: unit rows of (x - mean) basis. Meant for x of unit rows.
struct WordProjection {
  at::Tensor mean;   // (S) float32
  at::Tensor basis;  // (S, width) float32, orthonormal columns, by falling variance
};

/// The principal components of unit rows. Signs are fixed (the largest entry of a column is positive), so the result does
/// not depend on the machine but for rounding.
///
/// vectors  (K, S) float32, K >= 2
/// width    1 to S
WordProjection principal_components(const at::Tensor& vectors, int64_t width);

/// A codebook of a table: semantics are the centred unit rows of its vectors (unit, minus their mean, unit), codes their
/// projection on the first `width` principal components, unit again and rounded to half precision, so that a file holds
/// them in half of the space without a change. The fingerprint stays empty.
///
/// throws   Error(kUsage) as check_table, or a width that is not in 1 .. S
/// source   the mean of word vectors is large (0.24 as a mean cosine for MiniLM's) and says nothing; on few components
///          neighbours stay sensible, and residual quantization stays finite (spae/README.md)
LexicalCodebook make_lexical_codebook(const WordTable& table, int64_t width);

/// Throws Error(kUsage): words that are empty, twice, hold blanks or control characters or are "#" (which starts remarks
/// in word files); ids or vectors of another number, dtype or device, negative or twice; values that are not finite.
void check_table(const WordTable& table);

/// The same for a codebook, and that all rows have length one (to 1e-3); semantics may be undefined.
void validate(const LexicalCodebook& codebook);

}  // namespace lexel::spae
