#include "autoregressive/local_language_model.h"

#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>

#include "tests/autoregressive/tiny_llama.h"
#include "tests/support/expect_error.h"
#include "tests/support/run_program.h"
#include "tokenizers/byte_pair_tokenizer.h"
#include "tokenizers/io/gguf.h"

namespace lexel::ar {
namespace {

using tests::expect_error;
using Ids = std::vector<int64_t>;

class LocalLanguageModelTest : public testing::Test {
 protected:
  LocalLanguageModelTest() {
    const std::string path = (folder_ / "tiny.gguf").string();
    tests::write_text(path, tests::tiny_gguf().text_of_file());
    LocalLanguageModel::Options options;
    options.precision = LlamaPrecision::kFloat32;
    options.context = 48;
    model_ = std::make_unique<LocalLanguageModel>(path, options);
  }

  // ln p of each token, one step at a time, each from the start.
  std::vector<double> naive(const std::string& prompt, const std::string& text) const {
    const GgufFile file(tests::tiny_gguf().bytes(), "tiny.gguf");
    const BytePairTokenizer tokenizer(file);
    const PackedLlama llama = pack(load_llama(file), LlamaPrecision::kFloat32);
    Ids ids = tokenizer.encode(prompt);
    std::vector<double> scores;
    for (const int64_t id : tokenizer.encode(text)) {
      LlamaDecoder decoder(llama, 48);
      const at::Tensor all = at::log_softmax(decoder.feed(ids), -1);
      scores.push_back(all[id].item<double>());
      ids.push_back(id);
    }
    return scores;
  }

  tests::TemporaryFolder folder_;
  std::unique_ptr<LocalLanguageModel> model_;
};

TEST_F(LocalLanguageModelTest, Tokenizes) {
  EXPECT_EQ(model_->tokenize("is ab, abc:"),
            (std::vector<std::string>{"i", "s", " ab", ",", " abc", ":"}));
}

TEST_F(LocalLanguageModelTest, ScoresAreThoseOfOneTokenAfterAnother) {
  const std::vector<std::string> texts = {" ab", " abc", " abz\n", " abzz", " xyz", "q"};
  for (const char* prompt : {"Input: abc", "Input: abc", "Input: abd, e", "Zebra"}) {
    const std::vector<TextScore> scores = model_->score(prompt, texts);
    ASSERT_EQ(scores.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::vector<double> wanted = naive(prompt, texts[i]);
      ASSERT_EQ(scores[i].log_probabilities.size(), wanted.size());
      for (size_t t = 0; t < wanted.size(); ++t)
        EXPECT_NEAR(scores[i].log_probabilities[t], wanted[t], 1e-4) << prompt << texts[i];
    }
  }
}

TEST_F(LocalLanguageModelTest, ManyContinuationsAreCutToTheRoomThereIs) {
  std::vector<std::string> texts;  // 60 tokens, of which 40 - 8 fit beside the prompt
  for (char c = 'a'; c < 'p'; ++c) texts.push_back(std::string(4, c));
  const std::vector<TextScore> scores = model_->score("Qwertyui", texts);
  for (const size_t i : {size_t{0}, size_t{9}, texts.size() - 1}) {
    const std::vector<double> wanted = naive("Qwertyui", texts[i]);
    for (size_t t = 0; t < wanted.size(); ++t)
      EXPECT_NEAR(scores[i].log_probabilities[t], wanted[t], 1e-4) << i;
  }
}

TEST_F(LocalLanguageModelTest, ChoosesTheLikeliestTokenAtEachPlace) {
  const std::vector<std::string> texts = {" abz\n", " aby\n", " abyx\n", " q\n", "r", " abyz\n"};
  for (const char* prompt : {"Input: abc", "Zebra", "A", "Hello Dolly", "x, y, z:"}) {
    const int64_t chosen = model_->choose(prompt, texts);
    EXPECT_EQ(chosen, model_->LanguageModel::choose(prompt, texts)) << prompt;  // by the scores
    EXPECT_EQ(chosen, model_->choose(prompt, texts)) << prompt;
  }
  EXPECT_EQ(model_->choose("A", {"b", "b"}), 0);
}

TEST_F(LocalLanguageModelTest, CompletesGreedilyAndBySeed) {
  CompletionOptions options;
  options.max_tokens = 8;
  options.stop = {};
  const std::string text = model_->complete("Input: abc", options);
  EXPECT_FALSE(text.empty());
  const std::string again = model_->complete("Input: abc", options);
  EXPECT_EQ(text, again);
  options.max_tokens = 3;
  EXPECT_TRUE(text.starts_with(model_->complete("Input: abc", options)));

  options.max_tokens = 8;
  options.stop = {text.substr(2, 2)};
  EXPECT_EQ(model_->complete("Input: abc", options), text.substr(0, text.find(text.substr(2, 2))));

  options.stop = {};
  options.temperature = 1.5;
  options.seed = 3;
  const std::string drawn = model_->complete("Input: abc", options);
  EXPECT_EQ(drawn, model_->complete("Input: abc", options));
  options.seed = 4;
  EXPECT_NE(drawn, model_->complete("Input: abc", options));
}

TEST_F(LocalLanguageModelTest, RefusesEmptyAndLongTexts) {
  expect_error(ErrorKind::kUsage, "expected a prompt, got an empty text",
               [&] { model_->score("", {"a"}); });
  expect_error(ErrorKind::kUsage, "got none", [&] { model_->score("a", {}); });
  expect_error(ErrorKind::kUsage, "got an empty one", [&] { model_->choose("a", {""}); });
  expect_error(ErrorKind::kUsage, "expected a prompt of at most 47 tokens, got 60",
               [&] { model_->score(std::string(60, 'x'), {"a"}); });
  // The vocabulary lacks "<".
  expect_error(ErrorKind::kUsage, "that have tokens, got one of 1 bytes without", [&] {
    model_->score("a", {"b", "<"});
  });
  expect_error(ErrorKind::kUsage, "that have tokens", [&] { model_->choose("a", {"<", "b"}); });
  CompletionOptions options;
  options.max_tokens = 0;
  expect_error(ErrorKind::kUsage, "max_tokens >= 1", [&] { model_->complete("a", options); });
  expect_error(ErrorKind::kBadData, "not UTF-8", [&] { model_->score("a\xC0", {"a"}); });
  expect_error(ErrorKind::kIo, "absent.gguf", [] { LocalLanguageModel("absent.gguf"); });
}

}  // namespace
}  // namespace lexel::ar
