#include <filesystem>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/apps/programs_fixture.h"
#include "tokenizers/io/picture_source.h"
#include "tokenizers/io/token_file.h"

namespace lexel::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Img2TokTok2Img : public ProgramsTest {
 protected:
  void make_folder(const std::string& name, int count) {
    fs::create_directories(path(name));
    for (int i = 0; i < count; ++i) {
      write_image(path(name) + "/p" + std::to_string(i) + ".png", sample_image(20 + i, 17, i));
    }
  }
};

TEST_F(Img2TokTok2Img, APictureGoesToTokensAndComesBack) {
  write_image(path("a.png"), sample_image(40, 30));
  ProgramResult result = img2tok({path("a.png"), path("a.tok.safetensors")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out + result.err, "");
  result = tok2img({path("a.tok.safetensors"), path("back.png")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out + result.err, "");
  const Image back = read_image(path("back.png"));
  EXPECT_EQ(back.width(), 16);
  EXPECT_EQ(back.height(), 16);
}

TEST_F(Img2TokTok2Img, TilesGiveThePictureBackInItsOwnSize) {
  write_image(path("a.png"), sample_image(45, 22));
  ASSERT_EQ(img2tok({"--fit", "tiles", path("a.png"), path("a.safetensors")}).exit_code, 0);
  ASSERT_EQ(tok2img({path("a.safetensors"), path("back.png")}).exit_code, 0);
  const Image back = read_image(path("back.png"));
  EXPECT_EQ(back.width(), 45);
  EXPECT_EQ(back.height(), 22);
}

TEST_F(Img2TokTok2Img, TokensDependNeitherOnBatchNorOnThreads) {
  make_folder("in", 11);
  ASSERT_EQ(
      img2tok({"--batch", "1", "--threads", "1", path("in"), path("1.safetensors")}).exit_code, 0);
  ASSERT_EQ(
      img2tok({"--batch", "7", "--threads", "5", path("in"), path("7.safetensors")}).exit_code, 0);
  const TokenFile one = read_token_file(path("1.safetensors"));
  ASSERT_EQ(one.pictures.size(), 11u);
  EXPECT_EQ(read_text(path("1.safetensors")), read_text(path("7.safetensors")));
}

TEST_F(Img2TokTok2Img, WritesAFolderByTheOriginalNames) {
  make_folder("in", 3);
  ASSERT_EQ(img2tok({path("in"), path("t.safetensors")}).exit_code, 0);
  const ProgramResult result =
      tok2img({path("t.safetensors"), path("out/"), "--extension", "webp"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const char* name : {"p0.webp", "p1.webp", "p2.webp"}) {
    EXPECT_TRUE(fs::exists(path("out") + "/" + name)) << name;
  }
}

TEST_F(Img2TokTok2Img, WritesASheetWithTheOriginals) {
  make_folder("in", 3);
  ASSERT_EQ(img2tok({path("in"), path("t.safetensors")}).exit_code, 0);
  const ProgramResult result =
      tok2img({path("t.safetensors"), "--sheet", path("sheet.png"), "--originals", path("in")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Image sheet = read_image(path("sheet.png"));
  EXPECT_GE(sheet.width(), 2 * 16);
  EXPECT_GE(sheet.height(), 16);
}

TEST_F(Img2TokTok2Img, PipesThroughStdinAndStdout) {
  write_image(path("a.png"), sample_image(16, 16));
  const ProgramResult tokens = img2tok({"-", "-"}, read_text(path("a.png")));
  ASSERT_EQ(tokens.exit_code, 0) << tokens.err;
  const ProgramResult back = tok2img({"-", path("back.png")}, tokens.out);
  ASSERT_EQ(back.exit_code, 0) << back.err;
  EXPECT_EQ(read_image(path("back.png")).width(), 16);
}

TEST_F(Img2TokTok2Img, TextAndJsonAndNpyHoldTheSameIds) {
  make_folder("in", 2);
  ASSERT_EQ(img2tok({path("in"), path("t.safetensors")}).exit_code, 0);
  const TokenFile file = read_token_file(path("t.safetensors"));

  std::istringstream text(img2tok({"--format", "text", path("in"), "-"}).out);
  const ProgramResult result = img2tok({"--format", "json", path("in"), "-"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string json = result.out;
  ASSERT_FALSE(nlohmann::json::parse(json, nullptr, false).is_discarded());
  for (const TokenizedPicture& picture : file.pictures) {
    std::string line;
    ASSERT_TRUE(std::getline(text, line));
    for (int64_t i = 0; i < picture.tokens.numel(); ++i) {
      const std::string id = std::to_string(picture.tokens.reshape({-1})[i].item<int>());
      EXPECT_THAT(line, HasSubstr(id));
    }
  }
  ASSERT_EQ(img2tok({path("in"), path("t.npy")}).exit_code, 0);
  EXPECT_EQ(read_text(path("t.npy")).substr(1, 5), "NUMPY");
}

TEST_F(Img2TokTok2Img, TenThousandPicturesOfWhichThreeAreBroken) {
  const std::vector<uint8_t> picture = encode_image(sample_image(16, 16), "png");
  {
    TarWriter tar(path("many.tar"));
    for (int i = 0; i < 10'000; ++i) {
      const bool broken = i == 0 || i == 5000 || i == 9999;
      char name[32];
      std::snprintf(name, sizeof name, "%05d.png", i);
      tar.add(name, picture.data(), broken ? picture.size() / 2 : picture.size());
    }
    tar.close();
  }
  const ProgramResult refused = img2tok({path("many.tar"), path("t.safetensors")});
  expect_failure(refused, 3, "00000");
  EXPECT_FALSE(fs::exists(path("t.safetensors")));

  const ProgramResult result = img2tok({"--skip-bad", path("many.tar"), path("t.safetensors")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const char* name : {"00000", "05000", "09999", "skipped 3 of 10000"}) {
    EXPECT_THAT(result.err, HasSubstr(name));
  }
  EXPECT_EQ(read_token_file(path("t.safetensors")).pictures.size(), 9997u);
}

}  // namespace
}  // namespace lexel::tests
