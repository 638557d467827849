#include "tokenizers/train_text_tokenizer.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel {
namespace {

using tests::english_captions;
using tests::expect_error;

TextTrainingOptions pieces(int64_t vocabulary) {
  TextTrainingOptions options;
  options.vocabulary = vocabulary;
  return options;
}

TEST(TrainTextTokenizer, SameCaptionsSameBytes) {
  EXPECT_EQ(train_text_tokenizer(english_captions(), pieces(400)).serialized,
            tests::english_model());
}

TEST(TrainTextTokenizer, TheVocabularyIsExactWhereTheCaptionsCarryIt) {
  const auto trained = train_text_tokenizer(english_captions(), pieces(300));
  EXPECT_EQ(trained.vocabulary, 300);
  EXPECT_FALSE(trained.clipped);
}

TEST(TrainTextTokenizer, TheVocabularyIsClippedToWhatTheCaptionsJustify) {
  const auto trained = train_text_tokenizer(english_captions(), parti_text_options());
  EXPECT_TRUE(trained.clipped);
  EXPECT_GT(trained.vocabulary, 280);
  EXPECT_LT(trained.vocabulary, 1000);
}

TEST(TrainTextTokenizer, FrequentWordsBecomeOnePiece) {
  const auto tokenizer = text_tokenizer_from_bytes(tests::english_model(), "english");
  for (const char* word : {"fish", "umbrella", "photograph"})
    EXPECT_EQ(tokenizer->encode(word).size(), 1U) << word;
}

TEST(TrainTextTokenizer, CaseIsKeptOnRequest) {
  TextTrainingOptions options = pieces(320);
  options.case_folding = false;
  const auto trained = train_text_tokenizer(english_captions(), options);
  const auto tokenizer = text_tokenizer_from_bytes(trained.serialized, "cased");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("Red FISH")), "Red FISH");
}

TEST(TrainTextTokenizer, ALongCaptionCounts) {
  std::string flood;
  for (int i = 0; i < 10'000; ++i) flood += "zebra ";
  const auto trained = train_text_tokenizer({flood, "a fish"}, pieces(300));
  const auto tokenizer = text_tokenizer_from_bytes(trained.serialized, "zebra");
  EXPECT_LE(tokenizer->encode("zebra").size(), 2U);
}

TEST(TrainTextTokenizer, IsSilent) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  train_text_tokenizer({"a fish", "", "\u2585", "a \U0001F420"}, pieces(300));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
}

TEST(TrainTextTokenizer, RefusesWhatCannotBeTrained) {
  expect_error(ErrorKind::kUsage, "got 0 without a word",
               [] { train_text_tokenizer({}, pieces(300)); });
  expect_error(ErrorKind::kUsage, "got 4 without a word", [] {
    train_text_tokenizer({"", "  \t", "\u200b", "\x01"}, pieces(300));
  });
  expect_error(ErrorKind::kUsage, "expected a vocabulary from 261",
               [] { train_text_tokenizer({"a"}, pieces(260)); });
  expect_error(ErrorKind::kUsage, "expected a vocabulary of at least 2",
               [] { train_text_tokenizer(english_captions(), pieces(261)); });
  expect_error(ErrorKind::kUsage, "to 1000000",
               [] { train_text_tokenizer({"a"}, pieces(1'000'001)); });
  expect_error(ErrorKind::kBadData, "caption 1: text is not UTF-8 at byte 1", [] {
    train_text_tokenizer({"a", "b\xFF"}, pieces(300));
  });
  TextTrainingOptions options = pieces(300);
  options.character_coverage = 0.5;
  expect_error(ErrorKind::kUsage, "character coverage from 0.98 to 1, got 0.5",
               [&] { train_text_tokenizer({"a"}, options); });
}

}  // namespace
}  // namespace lexel
