#include "tokenizers/io/word_text.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"

namespace lexel {
namespace {

using testing::HasSubstr;
using tests::expect_error;

/// Layers of 1, 2 and 4 positions a side: 1, 5, 21 tokens; nine words.
TokenizerInfo words_info() {
  TokenizerInfo info;
  info.kind = "spae";
  info.name = "tiny.safetensors";
  info.image_size = 16;
  info.grid_height = info.grid_width = 4;
  info.layer_sides = {1, 2, 4};
  info.words = {"cat", "dog", "fish", "house", "tree", "sky", "\xc3\xa9t\xc3\xa9", "#1", "sea"};
  info.codebook_size = 9;
  info.codebook_fingerprint = std::string(64, 'a');
  info.preprocess.image_size = 16;
  return info;
}

TokenFile made_tokens(const TokenizerInfo& info, const std::string& fit, int64_t layers) {
  TokenFile file = empty_token_file(info, layers);
  file.preprocess.fit = fit;
  uint64_t seed = 1;
  for (const auto& [name, width, height] :
       {std::tuple("a cat.png", 40, 30), std::tuple("b.png", 16, 33)}) {
    const Layout layout = make_layout(width, height, file.preprocess);
    file.pictures.push_back(
        {name, layout,
         tests::random_ids(seed++, {layout.columns * layout.rows, file.tokens()}, 9).to(at::kInt)});
  }
  return file;
}

void expect_same(const TokenFile& a, const TokenFile& b) {
  EXPECT_EQ(a.layer_sides, b.layer_sides);
  EXPECT_EQ(a.preprocess, b.preprocess);
  ASSERT_EQ(a.pictures.size(), b.pictures.size());
  for (size_t k = 0; k < a.pictures.size(); ++k) {
    EXPECT_EQ(a.pictures[k].name, b.pictures[k].name);
    EXPECT_EQ(a.pictures[k].layout, b.pictures[k].layout);
    EXPECT_TRUE(at::equal(a.pictures[k].tokens, b.pictures[k].tokens));
  }
}

TEST(WordText, ComesBackExactly) {
  const TokenizerInfo info = words_info();
  for (const char* const fit : {"crop", "tiles"}) {
    for (const int64_t layers : {1, 2, 3}) {
      const TokenFile file = made_tokens(info, fit, layers);
      const std::string text = words_of_tokens(file, info);
      expect_same(tokens_of_words(text, info, "t"), file);
    }
  }
}

TEST(WordText, IsALayerALine) {
  const TokenizerInfo info = words_info();
  TokenFile file = made_tokens(info, "crop", 2);
  file.pictures.resize(1);
  for (int64_t n = 0; n < 5; ++n) file.pictures[0].tokens[0][n] = n + 3;
  EXPECT_EQ(words_of_tokens(file, info), "# codebook " + std::string(64, 'a') +
                                             "\n# fit crop\n# picture 40x30 a cat.png\nhouse\n"
                                             "tree sky \xc3\xa9t\xc3\xa9 #1\n");
}

TEST(WordText, PlainWordsAreOnePicture) {
  const TokenFile file =
      tokens_of_words("  cat\n\n# a remark\ndog fish\nsky #1 ", words_info(), "t");
  ASSERT_EQ(file.pictures.size(), 1U);
  EXPECT_EQ(file.pictures[0].name, "words");
  EXPECT_EQ(file.pictures[0].layout.width, 16);
  EXPECT_EQ(file.layer_sides, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(file.pictures[0].tokens[0][4].item<int>(), 7);
}

TEST(WordText, WhatCannotBeReadIsNamed) {
  const auto refused = [](const std::string& message, const std::string& text) {
    expect_error(ErrorKind::kBadData, "t: " + message,
                 [&] { tokens_of_words(text, words_info(), "t"); });
  };
  refused("line 3: \"giraffe\" is not one of the 9 words of tiny.safetensors",
          "cat\n\ndog giraffe sky sky");
  refused("line 1: \"Cat\" is not one of", "Cat");
  refused("line 1: \"?[2J\" is not one of", "\x1b[2J");
  refused(
      "picture \"words\": the tokens end in the middle of layer 2: expected 5 to its end, got 4",
      "cat dog dog dog");
  refused(
      "picture \"words\": expected at most 21 tokens (3 layers), got 22",
      "cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat");
  refused("picture \"b\": expected 5 words (2 layers), as before, got 1",
          "# picture 9x9 a\ncat dog dog dog dog\n# picture 9x9 b\ncat");
  refused("picture \"b\": expected the tokens of at least one layer, got none",
          "# picture 9x9 b\n");
  refused("no words in it", "# a remark\n\n");
  refused("line 1: the words are of another codebook, bbb, than tiny.safetensors has",
          "# codebook bbb\ncat");
  refused("line 2: expected \"# fit\" before the first picture", "cat\n# fit crop");
  refused("line 1: ", "# fit squeeze\ncat");
  refused("line 1: expected \"# picture WIDTHxHEIGHT NAME\", got \"9by9\"",
          "# picture 9by9 b\ncat");
  refused("line 1: expected \"# picture WIDTHxHEIGHT NAME\", got \"9x\"", "# picture 9x");
  refused("picture \"b\": ", "# picture 0x9 b\ncat");
  refused("line 1: expected \"# picture\" before \"# tile\"", "# tile\ncat");
  refused("picture \"b\": expected 1 tiles, got 2", "# picture 9x9 b\ncat\n# tile\ndog");
  TokenizerInfo plain = words_info();
  plain.words.clear();
  plain.kind = "vit_vqgan";
  expect_error(ErrorKind::kUsage,
               "expected a model whose codes are words, got tiny.safetensors of kind",
               [&] { tokens_of_words("cat", plain, "t"); });
}

TEST(TokenFileOfLayers, IsWrittenAndReadWithItsSides) {
  const tests::TemporaryFolder folder;
  const TokenizerInfo info = words_info();
  const TokenFile file = made_tokens(info, "tiles", 3);
  write_token_file(folder / "t", file);
  const TokenFile back = read_token_file(folder / "t");
  expect_same(back, file);
  EXPECT_NO_THROW(check_same_tokenizer(back, info));
  const TokenFile two = first_layers(back, 2);
  EXPECT_EQ(two.tokens(), 5);
  EXPECT_TRUE(at::equal(two.pictures[0].tokens, file.pictures[0].tokens.narrow(1, 0, 5)));
  EXPECT_NO_THROW(check_same_tokenizer(two, info));
  EXPECT_THAT(format_tokens(two, "json"), HasSubstr("\"layer_sides\":[1,2]"));
  TokenizerInfo other = info;
  other.layer_sides = {2, 2, 4};
  expect_error(ErrorKind::kBadData,
               "layers of the sides [1, 2, 4], which are not the first ones of tiny.safetensors",
               [&] { check_same_tokenizer(back, other); });
  expect_error(ErrorKind::kUsage, "layers: expected 1 to 3, got 4", [&] { first_layers(file, 4); });
  other.layer_sides.clear();
  expect_error(ErrorKind::kUsage, "layers: expected a model with layers, got tiny.safetensors",
               [&] { empty_token_file(other, 2); });
}

}  // namespace
}  // namespace lexel
