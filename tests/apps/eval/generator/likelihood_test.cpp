#include "apps/eval/generator/likelihood.h"

#include <cmath>
#include <gtest/gtest.h>

#include "tests/apps/eval/generator/tiny_generator.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/load.h"

namespace lexel::eval {
namespace {

class LikelihoodTest : public testing::Test {
 protected:
  LikelihoodTest() {
    write_model_file(folder_ / "pictures", tests::tiny_picture_file(pictures_));
    tokenizer_ = load_image_tokenizer(folder_ / "pictures", "cpu");
    generator_ = tests::tiny_generator(pictures_);
  }

  tests::TemporaryFolder folder_;
  vqgan::Model pictures_ = tests::tiny_picture_model();
  std::unique_ptr<ImageTokenizer> tokenizer_;
  ar::Generator generator_;
  at::Tensor images_ = tests::random_uniform(1, {3, 3, 128, 128});
  std::vector<std::string> captions_{"a red ball", "two cats", ""};
};

TEST_F(LikelihoodTest, AFreshGeneratorKnowsNothing) {
  const auto values = negative_log_likelihoods(generator_, *tokenizer_, images_, captions_, 2);
  ASSERT_EQ(values.size(), 3u);
  for (const double value : values) EXPECT_NEAR(value, std::log(32.0), 0.5);
}

TEST_F(LikelihoodTest, DoesNotDependOnTheBatch) {
  const auto one = negative_log_likelihoods(generator_, *tokenizer_, images_, captions_, 1);
  const auto all = negative_log_likelihoods(generator_, *tokenizer_, images_, captions_, 8);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], all[i], 1e-4);
}

TEST_F(LikelihoodTest, IsTheMeanOfTheModelsOwnNumbers) {
  const EncodedCaptions text =
      encode_captions(*generator_.text, {captions_[0]}, generator_.model.config.max_text_tokens);
  ar::Condition condition;
  condition.text = text.ids;
  condition.lengths = text.lengths;
  const at::Tensor likelihoods = ar::token_log_likelihoods(
      generator_.model, condition, tokenizer_->encode(images_.narrow(0, 0, 1)));
  const auto values = negative_log_likelihoods(generator_, *tokenizer_, images_, captions_, 3);
  EXPECT_NEAR(values[0], -likelihoods.mean().item<double>(), 1e-4);
}

TEST_F(LikelihoodTest, RefusesWhatDoesNotFit) {
  tests::expect_error(ErrorKind::kUsage, "as many captions as pictures", [&] {
    negative_log_likelihoods(generator_, *tokenizer_, images_, {"one"}, 1);
  });
  generator_.text = nullptr;
  tests::expect_error(ErrorKind::kUsage, "without text", [&] {
    negative_log_likelihoods(generator_, *tokenizer_, images_, captions_, 1);
  });
}

}  // namespace
}  // namespace lexel::eval
