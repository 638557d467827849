#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apps/language/options.h"
#include "tests/apps/programs_fixture.h"
#include "tests/autoregressive/tiny_llama.h"
#include "tests/spae/tiny_spae.h"
#include "tests/support/expect_error.h"
#include "tests/support/run_program.h"
#include "tokenizers/io/picture_source.h"
#include "tokenizers/spae_file.h"

namespace lexel::cli {
namespace {

using ::testing::HasSubstr;
using tests::expect_error;

/// A random SPAE of letters and a random language model that can write them.
class DrawTest : public testing::Test {
 protected:
  DrawTest() {
    spae::Config config = tests::tiny_spae("vit");
    config.num_words = 20;
    spae::LexicalCodebook words = tests::random_words(1, config.num_words, config.code_width);
    for (size_t k = 0; k < words.words.size(); ++k)
      words.words[k] = std::string(1, static_cast<char>('a' + k));
    Preprocess preprocess;
    preprocess.image_size = config.image_size;
    options_.model = folder_ / "spae.safetensors";
    write_model_file(options_.model,
                     spae_file(spae::make_model(config, words, 1, at::kCPU), preprocess));
    options_.language_model.source = folder_ / "tiny.gguf";
    options_.language_model.precision = "float32";
    options_.language_model.context = 1024;
    tests::write_text(options_.language_model.source, tests::tiny_gguf().text_of_file());
    options_.examples = {folder_ / "examples.tar"};
    TarWriter tar(options_.examples.front());
    for (int i = 0; i < 3; ++i) {
      const auto png = encode_image(tests::sample_image(20 + i, 16), "png");
      const std::string about =
          nlohmann::json{{"caption", "abc " + std::string(1, char('a' + i))}}.dump();
      tar.add(concat(i, ".png"), png.data(), png.size());
      tar.add(concat(i, ".json"), reinterpret_cast<const uint8_t*>(about.data()), about.size());
    }
    tar.close();
    options_.picture = folder_ / "given.png";
    write_image(options_.picture, tests::sample_image(16, 24));
    options_.output = folder_ / "drawn.png";
    options_.layers = 2;
    options_.example_count = 2;
    options_.quiet = true;
  }

  std::string run() const {
    testing::internal::CaptureStdout();
    EXPECT_EQ(run_draw(options_), 0);
    return testing::internal::GetCapturedStdout();
  }

  tests::TemporaryFolder folder_;
  DrawOptions options_;
};

TEST_F(DrawTest, DrawsEveryTaskAndSaysHowManyWordsAreThoseThatWereMeant) {
  for (const char* task : {"deblur", "inpaint", "outpaint", "rotate", "shift"}) {
    options_.task = task;
    options_.sheet = folder_ / (std::string(task) + ".png");
    const std::string out = run();
    EXPECT_THAT(out, HasSubstr("layer 2, 2 x 2")) << task;
    EXPECT_THAT(out, HasSubstr(" of 5 words are those that were meant; ")) << task;
    EXPECT_EQ(read_image(options_.output).width(), 16) << task;
    EXPECT_GE(read_image(options_.sheet).width(), 3 * 16) << task;
  }
}

TEST_F(DrawTest, OutpaintingKeepsTheUpperWords) {
  options_.task = "outpaint";
  const std::string out = run();
  // Of layer 2 the upper row is given; whatever else is drawn, these two are right.
  EXPECT_THAT(out, HasSubstr("; 2 of the input's are\n")) << out;
}

TEST_F(DrawTest, DrawsTheSameAgainAndFromACaption) {
  options_.task = "caption";
  options_.caption = "abc b";
  options_.picture.clear();
  const std::string out = run();
  EXPECT_THAT(out, Not(HasSubstr("were meant")));
  const std::string drawn = tests::read_text(options_.output);
  EXPECT_EQ(run(), out);
  EXPECT_EQ(tests::read_text(options_.output), drawn);
}

TEST_F(DrawTest, SaysWhatIsMissing) {
  const auto refuse = [&](const std::string& message, const auto& change) {
    const DrawOptions good = options_;
    change(options_);
    expect_error(ErrorKind::kUsage, message, [&] { run_draw(options_); });
    options_ = good;
  };
  refuse("task deblur: expected a picture and no --caption", [](auto& o) { o.picture.clear(); });
  refuse("task caption: expected --caption and no picture", [](auto& o) { o.task = "caption"; });
  refuse("--layers: expected 1 to 4, got 5", [](auto& o) { o.layers = 5; });
  refuse("expected a caption beside it", [](auto& o) {
    o.task = "caption";
    o.caption = "abc";
    o.examples = {o.picture};
    o.picture.clear();
  });
}

}  // namespace
}  // namespace lexel::cli
