#include "apps/words/words.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <filesystem>
#include <gmock/gmock.h>
#include <sstream>

#include "apps/words/word_picture.h"
#include "tests/apps/programs_fixture.h"
#include "tests/spae/tiny_spae.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/token_file.h"
#include "tokenizers/spae_file.h"

namespace lexel::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

/// The real programs with a tiny random SPAE: layers of 1, 2, 4 and 4 positions a side, words "w0" to "w39".
class WordsTest : public ProgramsTest {
 protected:
  void SetUp() override {
    Preprocess preprocess;
    preprocess.image_size = 16;
    write_model_file(model(), spae_file(tiny_spae_model(tiny_spae("vit"), 7), preprocess));
    write_image(path("a.png"), sample_image(40, 30));
  }

  /// The words of a.png.
  std::string text(std::vector<std::string> options = {}) {
    options.insert(options.end(), {"--format", "text", path("a.png"), "-"});
    const ProgramResult result = img2tok(options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  }
};

TEST_F(WordsTest, TokenFilesAndTextDrawTheSamePicture) {
  ASSERT_EQ(img2tok({path("a.png"), path("a.tok")}).exit_code, 0);
  EXPECT_EQ(read_token_file(path("a.tok")).layer_sides, (std::vector<int64_t>{1, 2, 4, 4}));
  write_file(path("a.txt"), text());
  for (const char* const layers : {"2", "4"}) {
    ASSERT_EQ(tok2img({"--layers", layers, path("a.tok"), path("token.png")}).exit_code, 0);
    const ProgramResult result = tok2img({"--layers", layers, path("a.txt"), path("text.png")});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(read_text(path("text.png")), read_text(path("token.png")));
  }
  // Through pipes, and cut by img2tok.
  const ProgramResult piped = tok2img({"-", path("piped.png")}, text({"--layers", "4"}));
  ASSERT_EQ(piped.exit_code, 0) << piped.err;
  EXPECT_EQ(read_text(path("piped.png")), read_text(path("text.png")));
}

TEST_F(WordsTest, TwoLayersAreFiveWords) {
  const std::string out = text({"--layers", "2"});
  EXPECT_THAT(out, StartsWith("# codebook "));
  EXPECT_THAT(out, HasSubstr("\n# fit crop\n# picture 40x30 " + path("a.png") + "\nw"));
  std::istringstream lines(out.substr(out.find("a.png\n") + 6));
  int words = 0;
  for (std::string word; lines >> word; ++words) EXPECT_THAT(word, StartsWith("w"));
  EXPECT_EQ(words, 5);
}

TEST_F(WordsTest, BadTextIsNamedAndNothingIsWritten) {
  const auto refused = [&](const std::string& words, const std::string& message) {
    write_file(path("bad.txt"), words);
    expect_failure(tok2img({path("bad.txt"), path("bad.png")}), 3, message);
    EXPECT_FALSE(std::filesystem::exists(path("bad.png")));
  };
  refused("w1\nw2 w3 w4 giraffe\n", "bad.txt: line 2: \"giraffe\" is not one of the 40 words");
  refused("w1 w2 w3 w4", "the tokens end in the middle of layer 2: expected 5 to its end, got 4");
  const std::string good = text();
  refused(good.substr(0, good.size() - 4), "in the middle of layer 4");
  refused("# codebook " + std::string(64, 'f') + "\nw1", "the words are of another codebook");
  refused("", "no words in it");
  expect_failure(tok2img({path("absent.txt"), path("bad.png")}), 4, "absent.txt");
}

TEST_F(WordsTest, LayersAreOfModelsThatHaveThem) {
  expect_failure(img2tok({"--layers", "5", path("a.png"), path("a.tok")}), 2,
                 "layers: expected 1 to 4, got 5");
  ASSERT_EQ(img2tok({"--layers", "2", path("a.png"), path("a.tok")}).exit_code, 0);
  expect_failure(tok2img({"--layers", "3", path("a.tok"), path("b.png")}), 2,
                 "layers: expected 1 to 2, got 3");
  write_model(model(), 1);  // a ViT-VQGAN
  expect_failure(img2tok({"--layers", "2", path("a.png"), path("a.tok")}), 2,
                 "expected a model with layers");
  expect_failure(lexel({"words", "--model", model(), path("a.png")}), 2,
                 "expected a model whose codes are words");
  write_file(path("a.txt"), "w1 w2 w3 w4 w5");
  expect_failure(tok2img({path("a.txt"), path("b.png")}), 3, "a.txt");
}

TEST_F(WordsTest, ATokenFileOfOtherWordsIsRefused) {
  ASSERT_EQ(img2tok({path("a.png"), path("a.tok")}).exit_code, 0);
  Preprocess preprocess;
  preprocess.image_size = 16;
  write_model_file(model(), spae_file(tiny_spae_model(tiny_spae("vit"), 8), preprocess));
  expect_failure(tok2img({path("a.tok"), path("b.png")}), 3,
                 "the tokens were made by another model");
}

TEST_F(WordsTest, LexelWordsPrintsATableAndPaintsThePicture) {
  const ProgramResult result =
      lexel({"words", "--model", model(), path("a.png"), "-o", path("words.png")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, StartsWith("layer 1, 1 x 1\n  w"));
  EXPECT_THAT(result.out, HasSubstr("\nlayer 4, 4 x 4\n"));
  const Image sheet = read_image(path("words.png"));
  EXPECT_GT(sheet.width(), 3 * 768);
  EXPECT_GT(sheet.height(), 2 * 768);
  expect_failure(lexel({"words", "--model", model(), "--layers", "5", path("a.png")}), 2,
                 "expected 1 to 4, got 5");
}

TEST_F(WordsTest, LexelInfoExplainsModelAndTokens) {
  ASSERT_EQ(img2tok({"--layers", "3", path("a.png"), path("a.tok")}).exit_code, 0);
  const std::string info = lexel({"info", model()}).out,
                    tokens = lexel({"info", path("a.tok")}).out;
  EXPECT_THAT(info, HasSubstr("layers: 1x1, 2x2, 4x4, 4x4"));
  EXPECT_THAT(info, HasSubstr("tokens after each: 1, 5, 21, 37"));
  EXPECT_THAT(info, HasSubstr("words: 40 with codes of 8: w0 w1 w2"));
  EXPECT_THAT(tokens, HasSubstr("21 tokens in layers of 1x1, 2x2, 4x4 (4x4 positions)"));
}

TEST(WordTable, ColumnsAreAlignedByCharacters) {
  EXPECT_EQ(cli::word_table({"a", "\xc3\xa9t\xc3\xa9", "b", "cc", "d", "x"}, {1, 2, 1}, 2),
            "layer 1, 1 x 1\n  a\nlayer 2, 2 x 2\n  \xc3\xa9t\xc3\xa9  b\n  cc   d\n");
}

TEST(WordPicture, AWordStandsAtItsPosition) {
  const at::Tensor picture = at::full({3, 16, 16}, 0.5F);
  const auto drawn = [&](const std::vector<std::string>& words) {
    return cli::word_picture(picture, words, {1, 2}).pixels;
  };
  // The second layer's panel differs where its lower right word is, and nowhere in its upper half.
  const at::Tensor difference =
      drawn({"a", "b", "c", "d", "eee"}).ne(drawn({"a", "b", "c", "d", " "})).any(2);
  const at::Tensor places = difference.nonzero();  // (n, 2): row, column
  ASSERT_GT(places.size(0), 0);
  EXPECT_GT(places.select(1, 0).min().item<int64_t>(), 768 / 2);
  EXPECT_GT(places.select(1, 1).min().item<int64_t>(), 768 + 768 / 2);
}

}  // namespace
}  // namespace lexel::tests
