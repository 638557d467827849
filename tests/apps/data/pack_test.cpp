#include "apps/data/pack.h"

#include <ATen/ops/full.h>
#include <algorithm>
#include <filesystem>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "kernels/check.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/picture_source.h"

namespace lexel::data {
namespace {

namespace fs = std::filesystem;
using tests::TemporaryFolder;

struct Packed {
  nlohmann::json about;
  Image image;
  std::string name;
};

// By source.
std::map<std::string, Packed> read_tar(const std::string& path) {
  std::map<std::string, Packed> found;
  PictureSource source({path});
  for (PictureBytes picture; source.next(picture);) {
    const nlohmann::json about = nlohmann::json::parse(picture.json);
    found[about.at("source")] = {
        about, decode_image(picture.data.data(), picture.data.size(), picture.name), picture.name};
  }
  return found;
}

class PackSet : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder / "root/art");
    fs::create_directories(folder / "root/papers/Sea/contents/images");
    fs::create_directories(folder / "out");
    add("root/photo.jpg", 2000, 100, 1);
    add("root/small.png", 40, 30, 2);
    add("root/same.png", 40, 30, 2);
    add("root/tiny.png", 8, 8, 3);
    add("root/art/tall.png", 20, 1600, 4);
    add("root/papers/Sea/contents/images/1.png", 60, 40, 5);
    add("root/papers/Sea/contents/images/2.png", 90, 60, 6);
    add("root/secret.png", 40, 30, 7);
    write_file(folder / "root/broken.png", "this is no picture");
    write_file(folder / "root/small.txt", "A small square.");
  }
  void add(const std::string& name, int64_t width, int64_t height, int level) {
    write_image(folder / name, {at::full({height, width, 3}, level, at::kByte)});
  }

  TemporaryFolder folder;
  DataSet set{.name = "toy",
              .about = "",
              .licence = "CC0-1.0",
              .held_out = true,
              .packages = {"toys"},
              .rules = {{"toys", "secret*", ""},
                        {"toys", "art/*", "clip art"},
                        {"toys", "papers/*", "photo", Caption::kNone, Family::kWallpaper, true},
                        {"toys", "*", "photo", Caption::kSidecar}}};
};

TEST_F(PackSet, AppliesRulesDropsDuplicatesAndNamesWhatIsBad) {
  std::ostringstream log;
  const PackCount count = pack_set(set, {{"toys", folder / "root"}}, folder / "out", log);
  EXPECT_EQ(count.train, 0);
  EXPECT_EQ(count.held_out, 4);
  EXPECT_EQ(count.duplicates, 1);
  EXPECT_EQ(count.bad, 2);
  EXPECT_NE(log.str().find("toys/broken.png: is not a picture"), std::string::npos);
  EXPECT_NE(log.str().find("toys/tiny.png: has 8 x 8 pixels"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "out/toy-train-00000.tar"));
  EXPECT_EQ(count.bytes, static_cast<int64_t>(fs::file_size(folder / "out/toy-heldout-00000.tar")));

  const std::map<std::string, Packed> packed = read_tar(folder / "out/toy-heldout-00000.tar");
  ASSERT_EQ(packed.size(), 4u);
  const Packed& photo = packed.at("toys/photo.jpg");
  EXPECT_EQ(photo.image.width(), 1536);
  EXPECT_EQ(photo.image.height(), 77);
  EXPECT_TRUE(photo.name.ends_with(".jpg"));
  const Packed& tall = packed.at("toys/art/tall.png");
  EXPECT_EQ(tall.image.height(), 1536);
  EXPECT_TRUE(tall.name.ends_with(".png"));
  EXPECT_EQ(packed.count("toys/papers/Sea/contents/images/2.png"), 1u);  // the larger one
  EXPECT_EQ(packed.count("toys/same.png"), 1u);                          // sorted before small.png
}

TEST_F(PackSet, RecordsWhatAPictureIs) {
  fs::remove(folder / "root/same.png");
  std::ostringstream log;
  pack_set(set, {{"toys", folder / "root"}}, folder / "out", log);
  const nlohmann::json about =
      read_tar(folder / "out/toy-heldout-00000.tar").at("toys/small.png").about;
  EXPECT_EQ(about.at("caption"), "A small square.");
  EXPECT_EQ(about.at("licence"), "CC0-1.0");
  EXPECT_EQ(about.at("split"), "heldout");
  EXPECT_EQ(about.at("kind"), "photo");
  EXPECT_EQ(about.at("set"), "toy");
  EXPECT_EQ(about.at("source_sha256").get<std::string>().size(), 64u);
}

TEST_F(PackSet, IsDeterministicAndRemovesOldTars) {
  std::ostringstream log;
  write_file(folder / "out/toy-heldout-00001.tar", "of a longer run");
  pack_set(set, {{"toys", folder / "root"}}, folder / "out", log);
  EXPECT_FALSE(fs::exists(folder / "out/toy-heldout-00001.tar"));
  const std::vector<uint8_t> first = read_file(folder / "out/toy-heldout-00000.tar", 1 << 26);
  pack_set(set, {{"toys", folder / "root"}}, folder / "out", log);
  EXPECT_EQ(read_file(folder / "out/toy-heldout-00000.tar", 1 << 26), first);
}

TEST_F(PackSet, RulesThatMatchNothingAreBadData) {
  set.rules = {{"toys", "elsewhere/*", "photo"}};
  std::ostringstream log;
  tests::expect_error(ErrorKind::kBadData, "toy: no picture in toys matches", [&] {
    pack_set(set, {{"toys", folder / "root"}}, folder / "out", log);
  });
}

TEST(IsHeldOut, TakesAboutFivePercentForGood) {
  int held_out = 0;
  for (int i = 0; i < 10'000; ++i) held_out += is_held_out("toy", std::to_string(i));
  EXPECT_NEAR(held_out, 500, 90);  // four standard deviations
  // Fixed values: a change here would move pictures from one side to the other in everyone's data.
  std::set<int> first;
  for (int i = 0; i < 100; ++i) {
    if (is_held_out("toy", std::to_string(i))) first.insert(i);
  }
  EXPECT_EQ(first, (std::set<int>{14, 42, 45, 55, 58, 63}));
}

TEST(DataSets, EveryRuleNamesAPackageOfItsSetAndNamesAreUnique) {
  std::set<std::string> names;
  for (const DataSet& set : data_sets()) {
    EXPECT_TRUE(names.insert(set.name).second) << set.name;
    EXPECT_FALSE(set.licence.empty() || set.about.empty()) << set.name;
    for (const Rule& rule : set.rules) {
      EXPECT_NE(std::ranges::find(set.packages, rule.package), set.packages.end())
          << set.name << " " << rule.package;
    }
  }
}

TEST(DataSets, TheThreeSetsOfTheStudyAreHeldOut) {
  for (const DataSet& set : data_sets()) {
    const bool expected =
        set.name == "wallpapers-heldout" || set.name == "skimage" || set.name == "opencv-doc";
    EXPECT_EQ(set.held_out, expected) << set.name;
  }
}

}  // namespace
}  // namespace lexel::data
