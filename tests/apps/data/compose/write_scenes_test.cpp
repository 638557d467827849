#include "apps/data/compose/write_scenes.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apps/data/compose/grammar.h"
#include "apps/data/compose/scene.h"
#include "tests/apps/data/compose/made_sprites.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::data {
namespace {

namespace fs = std::filesystem;
using tests::expect_error;
using tests::TemporaryFolder;

class WriteScenes : public testing::Test {
 protected:
  void SetUp() override {
    tests::write_made_sprites(folder / "sprites.tar", 12);
    options.sprites = folder / "sprites.tar";
    options.output = folder / "scenes.tar";
    options.quiet = true;
    options.count = 9;
  }
  TemporaryFolder folder;
  ComposeOptions options;
};

TEST_F(WriteScenes, ATarOfPicturesWithCaptionAndTruth) {
  options.split = "heldout";
  options.sheet = folder / "sheet.png";
  run_data_compose(options);
  int64_t count = 0;
  PictureSource source({options.output});
  for (PictureBytes member; source.next(member); ++count) {
    const nlohmann::json about = nlohmann::json::parse(member.json);
    const Truth truth = truth_from_json(about.at("truth").dump());
    EXPECT_EQ(about.at("caption"), caption_of(truth, truth.wording));
    EXPECT_EQ(about.at("split"), "heldout");
    EXPECT_EQ(about.at("number"), count);
    EXPECT_EQ(about.at("composer").get<std::string>().size(), 64u);
    EXPECT_EQ(decode_image(member.data.data(), member.data.size(), member.name).width(), 128);
  }
  EXPECT_EQ(count, 9);
  EXPECT_GE(read_image(options.sheet).width(), 8 * 128);
}

TEST_F(WriteScenes, TheSameBytesInTwoPartsOrOne) {
  run_data_compose(options);
  const std::vector<uint8_t> whole = read_file(options.output, 1 << 28);
  run_data_compose(options);
  EXPECT_EQ(read_file(options.output, 1 << 28), whole);
  options.first = 8;
  options.count = 1;
  run_data_compose(options);
  PictureSource source({options.output});
  PictureBytes last;
  ASSERT_TRUE(source.next(last));
  EXPECT_NE(std::string(whole.begin(), whole.end()).find(last.json), std::string::npos);
}

TEST_F(WriteScenes, RefusesWhatItCannotDoAndLeavesNothing) {
  options.split = "test";
  expect_error(ErrorKind::kUsage, "train or heldout", [&] { run_data_compose(options); });
  options.split = "train";
  options.count = 0;
  expect_error(ErrorKind::kUsage, "--count", [&] { run_data_compose(options); });
  options.count = 1;
  options.sprites = folder / "no.tar";
  expect_error(ErrorKind::kIo, "no.tar", [&] { run_data_compose(options); });
  EXPECT_FALSE(fs::exists(options.output));
  options.output.clear();
  expect_error(ErrorKind::kUsage, "--output TAR or --sheet PNG",
               [&] { run_data_compose(options); });
}

}  // namespace
}  // namespace lexel::data
