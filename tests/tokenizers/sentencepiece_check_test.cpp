#include "tokenizers/sentencepiece_check.h"

#include <gtest/gtest.h>
#include <random>

#include "kernels/check.h"
#include "tests/support/expect_error.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel {
namespace {

using tests::english_model;
using tests::expect_error;

/// Refused with Error(kBadData), or loaded and then harmless: no other exception, no crash, no chatter.
void expect_harmless(const std::string& bytes) {
  try {
    const auto tokenizer = text_tokenizer_from_bytes(bytes, "hostile");
    for (const char* text : {"a red fish \u2460 \uFDFA", "e\u0301\u0308 \u4e2d\u6587 \U0001F420"})
      tokenizer->decode(tokenizer->encode(text));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadData) << error.what();
  }
}

void refuse(const std::string& bytes, const char* why) {
  expect_error(ErrorKind::kBadData, why, [&] { text_tokenizer_from_bytes(bytes, "hostile"); });
}

/// `english_model()` with the one occurrence of `from` replaced by `to` of the same length.
std::string patched(const std::string& from, const std::string& to) {
  std::string bytes = english_model();
  const size_t at = bytes.find(from);
  EXPECT_NE(at, std::string::npos);
  EXPECT_EQ(from.size(), to.size());
  return bytes.replace(at, from.size(), to);
}

TEST(CheckSentencePieceModel, AcceptsWhatWasTrained) {
  EXPECT_NO_THROW(check_sentencepiece_model(english_model(), "english"));
}

TEST(CheckSentencePieceModel, RefusesGarbage) {
  refuse("", "it is empty");
  refuse("garbage, not a model", "not a text tokenizer");
  refuse(std::string(1000, '\0'), "field number 0");
  refuse(std::string(1000, '\xFF'), "not a text tokenizer");
  refuse(std::string((size_t{16} << 20) + 1, '\n'), "expected at most 16777216");
}

TEST(CheckSentencePieceModel, RefusesSizesThatAreNotThere) {
  refuse("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", "bytes with 0 left");  // 2^64 - 1
  refuse("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", "more than 64 bits");
}

TEST(CheckSentencePieceModel, EveryTruncationIsRefused) {
  const std::string& whole = english_model();
  for (size_t size = 0; size < whole.size(); size += 1 + size / 50)
    EXPECT_THROW(text_tokenizer_from_bytes(whole.substr(0, size), "cut"), Error) << size;
}

TEST(CheckSentencePieceModel, NamesWhatIsMissing) {
  refuse(patched("<0x41>", "<0x4_>"), "is no byte");
  refuse(patched("<0x41>", "<0x42>"), "stands twice");
  refuse(patched("</s>", "</t>"), "no symbol \"</s>\"");
  refuse(patched("<unk>", "<abc>"), "expected one unknown symbol");
  refuse(english_model() + '\x22' + '\0', "field 4, which Lexel does not read");
  refuse(english_model() + english_model(), "stands twice");
}

TEST(CheckSentencePieceModel, FlippedBitsDoNoHarm) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    std::string bytes = english_model();
    for (int flip = 0; flip < 1 + round % 4; ++flip)
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    expect_harmless(bytes);
  }
}

TEST(CheckSentencePieceModel, ANormaliserThatLeadsOutOfItsTableIsRefused) {
  // The table begins with its size, little-endian, behind the field's key and length; every unit of its
  // trie is then turned into one whose children would lie far outside.
  std::string bytes = english_model();
  const size_t name = bytes.find("nmt_nfkc_cf");
  ASSERT_NE(name, std::string::npos);
  const size_t table = name + 11 + 1 + 3;  // key, length of three bytes
  for (size_t unit = 0; unit < 256; ++unit) {
    bytes[table + 4 + unit * 4 + 2] = '\xFF';
    bytes[table + 4 + unit * 4 + 3] = '\x7F';
  }
  refuse(bytes, "its normaliser's table");
}

}  // namespace
}  // namespace lexel
