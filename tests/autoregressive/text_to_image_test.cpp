#include "autoregressive/text_to_image.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tests/tokenizers/tiny_model.h"
#include "tokenizers/sentencepiece_tokenizer.h"
#include "tokenizers/vit_vqgan_file.h"

namespace lexel {
namespace {

using tests::expect_error;

/// A generator of 4 x 4 tokens with random weights, and its tokenizer, as files.
class TextToImageTest : public ::testing::Test {
 protected:
  TextToImageTest() {
    vqgan::Model pictures = tests::tiny_model(3);
    write_model_file(folder_ / "t.safetensors", vit_vqgan_file(pictures, tests::tiny_preprocess()));
    ar::Generator generator;
    generator.text = text_tokenizer_from_bytes(tests::english_model(), "test");
    ar::Config config = tests::tiny_parti();
    config.text_vocabulary = generator.text->vocabulary_size();
    config.grid_height = config.grid_width = 4;
    config.codebook_size = 32;
    generator.model = ar::make_model(config, 1, at::kCPU);
    const at::NoGradGuard no_grad;
    generator.model.softmax.weight.mul_(8.0);
    generator.codebook_fingerprint = codebook_fingerprint(pictures);
    generator.tokenizer_name = "t.safetensors";
    write_model_file(folder_ / "g.safetensors",
                     ar::generator_file(generator, ar::Stored::kFloat32));
  }

  TextToImage artist() const {
    return {folder_ / "g.safetensors", folder_ / "t.safetensors", {.device = "cpu"}};
  }

  static TextToImage::Options options(std::vector<int64_t> pictures) {
    TextToImage::Options options;
    options.sampling.guidance = 1.5;
    options.pictures = std::move(pictures);
    return options;
  }

  const tests::TemporaryFolder folder_;
};

TEST_F(TextToImageTest, APictureIsTheSameInAnyBatch) {
  const TextToImage model = artist();
  std::vector<std::string> captions;
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < 11; ++i) {  // more than a decoder takes at once
    captions.push_back(i % 2 == 0 ? "a red fish" : "two cars beside a river");
    numbers.push_back(i);
  }
  const TextToImage::Result all = model.draw(captions, options(numbers));
  EXPECT_EQ(all.images.sizes(), (std::vector<int64_t>{11, 3, 16, 16}));
  for (const int64_t i : {int64_t{0}, int64_t{3}, int64_t{10}}) {
    const TextToImage::Result alone = model.draw({captions[static_cast<size_t>(i)]}, options({i}));
    EXPECT_TRUE(alone.tokens[0].equal(all.tokens[i])) << i;
    EXPECT_TRUE(alone.images[0].equal(all.images[i])) << i;
    EXPECT_TRUE(alone.log_probabilities[0].equal(all.log_probabilities[i])) << i;
  }
  EXPECT_FALSE(all.tokens[0].equal(all.tokens[2]));
}

TEST_F(TextToImageTest, ACallbackSeesEveryRowAndMayStop) {
  const TextToImage model = artist();
  TextToImage::Options watched = options({0, 1});
  std::vector<int64_t> rows;
  watched.on_row = [&](int64_t done, const at::Tensor& tokens) {
    rows.push_back(done);
    EXPECT_EQ(tokens.ge(0).sum().item<int64_t>(), 2 * 4 * done);
    return done < 3;
  };
  const TextToImage::Result stopped = model.draw({"a fish", "a car"}, watched);
  EXPECT_EQ(rows, (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(stopped.tokens.lt(0).sum().item<int64_t>(), 2 * 4);
  // What was drawn is what goes on: given those tokens, the rest is that of an uninterrupted run.
  TextToImage::Options resumed = options({0, 1});
  resumed.given = stopped.tokens;
  const TextToImage::Result whole = model.draw({"a fish", "a car"}, options({0, 1}));
  EXPECT_TRUE(model.draw({"a fish", "a car"}, resumed).images.equal(whole.images));
}

TEST_F(TextToImageTest, SaysWhatItDidToACaption) {
  const TextToImage::Result result =
      artist().draw({"", "a fish", "one two three four five six seven eight"}, options({}));
  EXPECT_NE(result.warnings[0].find("is empty"), std::string::npos);
  EXPECT_EQ(result.warnings[1], "");
  EXPECT_NE(result.warnings[2].find("the rest was cut"), std::string::npos);
}

TEST_F(TextToImageTest, RefusesWhatCannotBe) {
  const TextToImage model = artist();
  expect_error(ErrorKind::kUsage, "at least one caption", [&] { model.draw({}, options({})); });
  expect_error(ErrorKind::kUsage, "expected 1 picture numbers, got 2", [&] {
    model.draw({"a"}, options({1, 2}));
  });
  expect_error(ErrorKind::kBadData, "caption 1", [&] { model.draw({"a", "\xFF"}, options({})); });
}

}  // namespace
}  // namespace lexel
