#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/apps/txt2img/txt2img_fixture.h"
#include "tests/tokenizers/tiny_model.h"
#include "tokenizers/io/preprocess.h"
#include "tokenizers/io/token_file.h"
#include "tokenizers/upsampler.h"

namespace lexel::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Txt2Img : public Txt2ImgTest {};

TEST_F(Txt2Img, DrawsACaptionAndSaysWhere) {
  const std::string said = drawn({"a red fish above a house", "-o", path("fish.png")});
  EXPECT_EQ(said, "txt2img: wrote " + path("fish.png") + "\n");
  const Image fish = read_image(path("fish.png"));
  EXPECT_EQ(fish.width(), 16);
  EXPECT_EQ(fish.height(), 16);
  const PngText text = text_of(path("fish.png"));
  EXPECT_EQ(text.at("Description"), "a red fish above a house");
  const auto record = nlohmann::json::parse(text.at("Lexel"));
  EXPECT_EQ(record["seed"], 0);
  EXPECT_EQ(record["picture"], 0);
  EXPECT_EQ(record["generator"]["name"], "parti.safetensors");
  EXPECT_LT(record["mean_log_probability"], 0.0);
}

TEST_F(Txt2Img, TheSameAgainAndAnotherSeedAnother) {
  drawn({"a fish", "-o", path("a.png")});
  drawn({"a fish", "-o", path("b.png"), "--quiet"});
  drawn({"a fish", "-o", path("c.png"), "--seed", "18446744073709551615"});
  EXPECT_EQ(read_text(path("a.png")), read_text(path("b.png")));
  EXPECT_FALSE(at::equal(read_image(path("a.png")).pixels, read_image(path("c.png")).pixels));
}

TEST_F(Txt2Img, APictureOfARunIsDrawnAgainByItsRecordBitForBit) {
  write_text(path("captions.txt"), "a fish\r\n\n  \na red car\ntwo green trees\n");
  drawn({"--prompts",
         path("captions.txt"),
         "--count",
         "3",
         "--seed",
         "5",
         "--guidance",
         "1.7",
         "--guidance-schedule",
         "cosine",
         "--temperature",
         "0.9",
         "--top-k",
         "20",
         "--top-p",
         "0.9",
         "--precision",
         "bf16",
         "--cache",
         "int8",
         "-o",
         path("out/")});
  ASSERT_THAT(
      names_in(path("out")),
      ElementsAre("0000-a-fish.png", "0001-a-fish.png", "0002-a-fish.png", "0003-a-red-car.png",
                  "0004-a-red-car.png", "0005-a-red-car.png", "0006-two-green-trees.png",
                  "0007-two-green-trees.png", "0008-two-green-trees.png"));
  for (const char* name : {"out/0004-a-red-car.png", "out/0008-two-green-trees.png"}) {
    drawn({"--like", path(name), "-o", path("again.png")});
    EXPECT_EQ(read_text(path("again.png")), read_text(path(name))) << name;
  }
}

TEST_F(Txt2Img, ARepeatNeedsTheSameModels) {
  drawn({"a fish", "-o", path("a.png")});
  write_generator(generator(), 2);
  expect_failure(txt2img({"--like", path("a.png"), "-o", path("b.png")}), 3, "is another model");
  write_generator(generator(), 1);
  write_image(path("plain.png"), sample_image(16, 16));
  expect_failure(txt2img({"--like", path("plain.png")}), 3, "holds no record");
  EXPECT_FALSE(fs::exists(path("b.png")));
}

TEST_F(Txt2Img, CaptionsComeFromStdinAndAPictureGoesToStdout) {
  drawn({"-", "-o", path("out/")}, "a fish\na car\n");
  EXPECT_THAT(names_in(path("out")), ElementsAre("0000-a-fish.png", "0001-a-car.png"));
  const ProgramResult result = txt2img({"a fish", "-o", "-"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(result.out, read_text(path("out/0000-a-fish.png")));
}

TEST_F(Txt2Img, WritesASheetATokenFileAndPreviews) {
  drawn({"a fish", "a car", "--count", "2", "--grid", path("sheet.png"), "--tokens",
         path("t.safetensors"), "--preview", path("so-far"), "--preview-every", "8", "-o",
         path("out/")});
  const Image sheet = read_image(path("sheet.png"));
  EXPECT_EQ(sheet.width(), 2 + 2 * (16 + 2));
  EXPECT_GT(sheet.height(), 2 * 16 + 20);
  const TokenFile tokens = read_token_file(path("t.safetensors"));
  ASSERT_EQ(tokens.pictures.size(), 4u);
  EXPECT_EQ(tokens.pictures[3].name, "0003-a-car");
  EXPECT_EQ(tokens.pictures[3].caption, "a car");
  EXPECT_THAT(names_in(path("so-far")),
              ElementsAre("0000-after-0008.png", "0000-after-0016.png", "0001-after-0008.png",
                          "0001-after-0016.png", "0002-after-0008.png", "0002-after-0016.png",
                          "0003-after-0008.png", "0003-after-0016.png"));
  // The last preview is the picture, and so are the tokens.
  const Image last = read_image(path("so-far/0003-after-0016.png"));
  EXPECT_TRUE(at::equal(last.pixels, read_image(path("out/0003-a-car.png")).pixels));
  ASSERT_EQ(tok2img({path("t.safetensors"), path("back/")}).exit_code, 0);
  EXPECT_TRUE(at::equal(last.pixels, read_image(path("back/0003-a-car.png")).pixels));
  // A sheet alone is enough.
  drawn({"a fish", "--grid", path("alone.png")});
  EXPECT_TRUE(fs::exists(path("alone.png")));
}

TEST_F(Txt2Img, RerankKeepsTheBestOfTheCandidates) {
  write_scorer();
  const std::string said =
      drawn({"a fish", "a car", "--rerank", "9", "--scorer", scorer(), "-o", path("out/")});
  EXPECT_THAT(said, HasSubstr("candidates by score"));
  const std::string best = path("out/0001-a-car.png");
  const auto record = nlohmann::json::parse(text_of(best).at("Lexel"));
  const auto scores = record["scores"].get<std::vector<double>>();
  ASSERT_EQ(scores.size(), 9u);
  const int64_t number = record["picture"];
  EXPECT_EQ(number / 9, 1);
  EXPECT_EQ(scores[static_cast<size_t>(number % 9)],
            *std::max_element(scores.begin(), scores.end()));
  EXPECT_LT(*std::min_element(scores.begin(), scores.end()),
            scores[static_cast<size_t>(number % 9)]);
  drawn({"--like", best, "-o", path("again.png")});
  EXPECT_EQ(read_text(path("again.png")), read_text(best));
}

TEST_F(Txt2Img, AMaskIsRedrawnAndTheRestStays) {
  write_image(path("photo.png"), sample_image(40, 20));
  const Image black{at::zeros({20, 40, 3}, at::kByte)};
  black.pixels.narrow(0, 10, 5).narrow(1, 15, 5).fill_(255);  // token (2, 1)
  write_image(path("mask.png"), black);
  drawn({"a fish", "--edit", path("photo.png"), "--mask", path("mask.png"), "-o", path("a.png")});
  Preprocess preprocess = tiny_preprocess();
  const at::Tensor photo =
      to_image(prepare(read_image(path("photo.png")), preprocess).tiles.squeeze(0)).pixels;
  const at::Tensor edited = read_image(path("a.png")).pixels;
  EXPECT_FALSE(at::equal(edited, photo));
  EXPECT_TRUE(at::equal(edited.narrow(0, 0, 6), photo.narrow(0, 0, 6)));  // two pixels of blending
  EXPECT_TRUE(at::equal(edited.narrow(1, 10, 6), photo.narrow(1, 10, 6)));
  // By its record it needs the photo and mask, and the same ones.
  drawn({"--like", path("a.png"), "--edit", path("photo.png"), "--mask", path("mask.png"), "-o",
         path("b.png")});
  EXPECT_EQ(read_text(path("a.png")), read_text(path("b.png")));
  expect_failure(txt2img({"--like", path("a.png"), "-o", path("c.png")}), 2, "--edit");
  write_image(path("photo.png"), sample_image(40, 20, 1));
  expect_failure(txt2img({"--like", path("a.png"), "--edit", path("photo.png"), "--mask",
                          path("mask.png"), "-o", path("c.png")}),
                 3, "another photo");
}

TEST_F(Txt2Img, RowsAreKeptAtTheTop) {
  write_image(path("photo.png"), sample_image(16, 16));
  drawn({"a fish", "--edit", path("photo.png"), "--keep-top", "2", "-o", path("a.png"), "--tokens",
         path("new.safetensors")});
  const at::Tensor photo = read_image(path("photo.png")).pixels;
  const at::Tensor edited = read_image(path("a.png")).pixels;
  EXPECT_TRUE(at::equal(edited.narrow(0, 0, 6), photo.narrow(0, 0, 6)));
  EXPECT_FALSE(at::equal(edited.narrow(0, 8, 8), photo.narrow(0, 8, 8)));
  ASSERT_EQ(img2tok({path("photo.png"), path("old.safetensors")}).exit_code, 0);
  const at::Tensor before = read_token_file(path("old.safetensors")).pictures[0].tokens;
  const at::Tensor after = read_token_file(path("new.safetensors")).pictures[0].tokens;
  EXPECT_TRUE(at::equal(before.narrow(1, 0, 8), after.narrow(1, 0, 8)));
  drawn({"--like", path("a.png"), "--edit", path("photo.png"), "-o", path("b.png")});
  EXPECT_EQ(read_text(path("a.png")), read_text(path("b.png")));
}

TEST_F(Txt2Img, UpscaledPicturesAreLargerAndRepeatable) {
  const vqgan::UpsamplerConfig config{.scale = 3, .width = 4, .blocks = 1, .expansion = 2};
  write_model_file(path("up.safetensors"),
                   upsampler_file(vqgan::make_upsampler(config, 1, at::kCPU)));
  drawn({"a fish", "--upscale", path("up.safetensors"), "-o", path("a.png")});
  EXPECT_EQ(read_image(path("a.png")).width(), 48);
  drawn({"--like", path("a.png"), "--upscale", path("up.safetensors"), "-o", path("b.png")});
  EXPECT_EQ(read_text(path("a.png")), read_text(path("b.png")));
  expect_failure(txt2img({"--like", path("a.png"), "-o", path("c.png")}), 2, "--upscale");
}

TEST_F(Txt2Img, InfoExplainsPicturesAndGenerators) {
  drawn({"a fish", "-o", path("a.png"), "--seed", "12"});
  ProgramResult result = lexel({"info", path("a.png")});
  EXPECT_THAT(result.out, HasSubstr("caption: a fish"));
  EXPECT_THAT(result.out, HasSubstr("seed: 12"));
  const auto json = nlohmann::json::parse(lexel({"info", "--json", path("a.png")}).out);
  EXPECT_EQ(json["drawn by txt2img"]["seed"], 12);
  result = lexel({"info", generator()});
  EXPECT_THAT(result.out, HasSubstr("model file: parti"));
  EXPECT_THAT(result.out, HasSubstr("draws: 4x4 tokens of 32 codes, from captions"));
  // Somebody else's text can neither drive the terminal nor end the program.
  write_png(path("evil.png"), sample_image(4, 4),
            {{"Lexel", "{\"format\":1}"}, {"Comment", "\x1b[2J\x07 hello"}});
  result = lexel({"info", path("evil.png")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("?[2J? hello"));
  EXPECT_THAT(result.out, HasSubstr("\"caption\" is missing"));
}

TEST_F(Txt2Img, TheHeatmapShowsLikelihoods) {
  write_image(path("photo.png"), sample_image(16, 16));
  std::vector<std::string> arguments = {
      "heatmap",     path("photo.png"), "--caption", "a fish", "--model", generator(),
      "--tokenizer", model(),           "--device",  "cpu",    "-o",      path("heat.png")};
  ProgramResult result = lexel(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("ln p of a token: mean -"));
  EXPECT_GT(read_image(path("heat.png")).width(), 2 * 384);
  arguments.push_back("--json");
  result = lexel(arguments);
  const auto json = nlohmann::json::parse(result.out);
  double sum = 0;
  for (const auto& row : json["log_likelihoods"]) {
    EXPECT_EQ(row.size(), 4u);
    for (const double value : row) {
      EXPECT_LT(value, 0.0);
      sum += value;
    }
  }
  EXPECT_NEAR(json["mean_log_likelihood"].get<double>(), sum / 16, 1e-6);
}

}  // namespace
}  // namespace lexel::tests
