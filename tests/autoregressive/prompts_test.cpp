#include "autoregressive/prompts.h"

#include <gtest/gtest.h>

#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel::ar {
namespace {

using tests::expect_error;

TEST(Prompts, CaptionsArePiecesAndNoCaptionIsTheEndSymbolAlone) {
  const auto text = text_tokenizer_from_bytes(tests::english_model(), "test");
  const Prompts prompts =
      read_prompts(tests::tiny_parti(), text.get(), {"a red fish", ""}, at::kCPU);
  EXPECT_EQ(prompts.given.text.size(0), 2);
  EXPECT_GT(prompts.given.lengths[0].item<int64_t>(), 1);
  EXPECT_EQ(prompts.given.lengths[1].item<int64_t>(), 1);
  EXPECT_EQ(prompts.none.lengths.item<int64_t>(), 1);
  EXPECT_EQ(prompts.none.text[0][0].item<int64_t>(), prompts.given.text[1][0].item<int64_t>());
  EXPECT_FALSE(prompts.given.classes.defined());
  EXPECT_EQ(prompts.warnings, (std::vector<std::string>{"", "is empty: drawn unconditionally"}));
}

TEST(Prompts, OfAGeneratorOfClassesAreTheirNumbers) {
  const Prompts prompts = read_prompts(tests::tiny_vim(), nullptr, {"2", "", "0"}, at::kCPU);
  EXPECT_FALSE(prompts.given.text.defined());
  const at::Tensor classes = prompts.given.classes;
  EXPECT_EQ(std::vector<int64_t>(classes.data_ptr<int64_t>(), classes.data_ptr<int64_t>() + 3),
            (std::vector<int64_t>{2, 3, 0}));  // 3 of 3: none
  EXPECT_EQ(prompts.none.classes.item<int64_t>(), 3);
  EXPECT_EQ(prompts.warnings[1], "is empty: drawn unconditionally");
}

TEST(Prompts, WhatIsNoClassIsNamed) {
  for (const char* wrong : {"3", "-1", "1.5", "sneaker", " 1", "99999999999999999999"}) {
    expect_error(ErrorKind::kUsage, "expected a number from 0 to 2, got \"" + std::string(wrong),
                 [&] { (void)read_prompts(tests::tiny_vim(), nullptr, {wrong}, at::kCPU); });
  }
  Config unconditional = tests::tiny_vim();
  unconditional.classes = 0;
  EXPECT_FALSE(read_prompts(unconditional, nullptr, {""}, at::kCPU).given.classes.defined());
  expect_error(ErrorKind::kUsage, "without captions and classes",
               [&] { (void)read_prompts(unconditional, nullptr, {"1"}, at::kCPU); });
}

}  // namespace
}  // namespace lexel::ar
