#include "tokenizers/byte_pair_tokenizer.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/expect_error.h"
#include "tests/support/made_gguf.h"
#include "tests/support/run_program.h"
#include "tokenizers/io/gguf.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::MadeGguf;
using Ids = std::vector<int64_t>;

// Ids 0 and 1 are symbols; "\u0120" stands for the space.
const std::vector<std::string> kTokens = {"<end>", "<begin>", "a",   "b",  "c",        "\u0120",
                                          "1",     "ab",      "abc", "bc", "\u0120ab", "\u010A"};
const std::vector<std::string> kMerges = {"b c", "a b", "\u0120 ab", "ab c"};

BytePairTokenizer make(const std::vector<std::string>& tokens = kTokens,
                       const std::vector<std::string>& merges = kMerges,
                       const std::string& rule = "smollm", const std::string& model = "gpt2",
                       uint64_t end = 0) {
  MadeGguf made;
  made.add_text("tokenizer.ggml.model", model);
  made.add_text("tokenizer.ggml.pre", rule);
  made.add_texts("tokenizer.ggml.tokens", tokens);
  std::vector<int32_t> types(tokens.size(), 1);
  if (types.size() > 1) types[0] = types[1] = 3;
  made.add_integers("tokenizer.ggml.token_type", types);
  made.add_texts("tokenizer.ggml.merges", merges);
  made.add_integer("tokenizer.ggml.eos_token_id", end);
  return BytePairTokenizer(GgufFile(made.bytes(), "m.gguf"));
}

TEST(BytePairTokenizer, TheLowestRankMergesFirst) {
  const BytePairTokenizer tokenizer = make();
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{2, 9}));  // b c before a b
  EXPECT_EQ(tokenizer.encode("ab"), (Ids{7}));
  EXPECT_EQ(tokenizer.encode("abab"), (Ids{7, 7}));   // the leftmost of equals first
  EXPECT_EQ(tokenizer.encode("a ab"), (Ids{2, 10}));  // a space joins the word that follows
  EXPECT_EQ(tokenizer.encode("ab  ab"), (Ids{7, 5, 10}));
  EXPECT_EQ(tokenizer.encode("11"), (Ids{6, 6}));
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.vocabulary_size(), 12);
  EXPECT_EQ(tokenizer.end(), 0);
  EXPECT_EQ(tokenizer.beginning(), -1);
}

TEST(BytePairTokenizer, TextComesBack) {
  const BytePairTokenizer tokenizer = make();
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("abc ab\n1a")), "abc ab\n1a");
  EXPECT_EQ(tokenizer.decode({0, 2, 1}), "a");  // symbols are no text
  EXPECT_EQ(tokenizer.encode("<end>"), Ids{});  // nor is their spelling a symbol
  expect_error(ErrorKind::kBadData, "got 12", [&] { tokenizer.decode({12}); });
  expect_error(ErrorKind::kBadData, "got -1", [&] { tokenizer.decode({-1}); });
  expect_error(ErrorKind::kBadData, "not UTF-8 at byte 1", [&] { tokenizer.encode("a\xFF"); });
}

TEST(BytePairTokenizer, LongWordsTakeNoLongTime) {
  const BytePairTokenizer tokenizer = make();
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "ab";
  EXPECT_EQ(tokenizer.encode(text).size(), 100'000);
}

TEST(BytePairTokenizer, RefusesWrongTables) {
  expect_error(ErrorKind::kUnsupported, "its tokenizer is \"llama\"",
               [] { make(kTokens, kMerges, "smollm", "llama"); });
  expect_error(ErrorKind::kUnsupported, "by the rule \"llama-bpe\"",
               [] { make(kTokens, kMerges, "llama-bpe"); });
  expect_error(ErrorKind::kBadData, "merge 0 is no pair", [] { make(kTokens, {"ab"}); });
  expect_error(ErrorKind::kBadData, "merge 1 has a part or a result without token", [] {
    make(kTokens, {"a b", "a c"});
  });
  expect_error(ErrorKind::kBadData, "token 3 is empty or there twice", [] {
    make({"<e>", "<b>", "a", "a"}, {});
  });
  expect_error(ErrorKind::kBadData, "token 2 has a character that stands for no byte", [] {
    make({"<e>", "<b>", "a b"}, {});
  });
  expect_error(ErrorKind::kBadData, "eos_token_id is 99, outside of the 12 tokens",
               [] { make(kTokens, kMerges, "smollm", "gpt2", 99); });
}

// Ids of Hugging Face's tokenizers 0.23.3: the same vocabulary and merges, Digits (each alone) and then ByteLevel.
TEST(BytePairTokenizer, EqualsTheTokenizersPackageOnSmolLm2) {
  const std::string source = LEXEL_SOURCE_DIR;
  const std::string model = source + "/data/smollm2-135m-instruct-q4_1.gguf";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "run `lexel data fetch smollm2`";
  const BytePairTokenizer tokenizer{GgufFile(model)};
  const auto cases =
      nlohmann::json::parse(tests::read_text(source + "/tests/data/smollm2_tokens.json"));
  ASSERT_EQ(cases.size(), 196);
  for (const auto& item : cases) {
    const auto text = item["text"].get<std::string>();
    const Ids ids = tokenizer.encode(text);
    EXPECT_EQ(ids, item["ids"].get<Ids>()) << item["text"].dump();
  }
}

}  // namespace
}  // namespace lexel
