#include "apps/data/compose/sprites.h"

#include <gtest/gtest.h>

#include "tests/apps/data/compose/made_sprites.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace lexel::data {
namespace {

using tests::add_sprite;
using tests::expect_error;
using tests::made_disc;
using tests::sprite_json;
using tests::TemporaryFolder;

class Sprites : public testing::Test {
 protected:
  // A tar of one picture and its json.
  std::string one(const RgbaImage& picture, const std::string& json) {
    const std::string path = folder / "one.tar";
    TarWriter tar(path);
    add_sprite(tar, "cat", picture, json);
    tar.close();
    return path;
  }
  TemporaryFolder folder;
  const RgbaImage disc = made_disc(20, 10, 3, 200, 100, 50);
};

TEST_F(Sprites, AreSortedAndCutToWhatIsVisible) {
  TarWriter tar(folder / "three.tar");
  add_sprite(tar, "1", disc, sprite_json("dog", "dogs", "z", true));
  add_sprite(tar, "2", disc, sprite_json("dog", "dogs", "a", true));
  add_sprite(tar, "3", disc, sprite_json("cat", "cats", "z", false));
  tar.close();
  const std::vector<SpriteThing> things = read_sprites(folder / "three.tar");
  ASSERT_EQ(things.size(), 2u);
  EXPECT_EQ(things[0].name, "cat");
  EXPECT_FALSE(things[0].tintable);
  ASSERT_EQ(things[1].drawings.size(), 2u);
  EXPECT_EQ(things[1].drawings[0].drawing, "a");
  EXPECT_EQ(things[1].drawings[0].picture.width(), 20);
  EXPECT_EQ(things[1].drawings[0].picture.height(), 10);
}

TEST_F(Sprites, HostileTarsAreRefusedByMember) {
  const auto refused = [&](const RgbaImage& picture, const std::string& json,
                           const std::string& message) {
    const std::string path = one(picture, json);
    expect_error(ErrorKind::kBadData, message, [&] { read_sprites(path); });
  };
  refused(disc, "", "no json");
  refused(disc, "{", "cat.png: its json");
  refused(disc, "[1]", "cat.png: its json");
  refused(disc, R"({"name": "cat", "plural": "cats", "drawing": "a"})", "tintable");
  refused(disc, R"({"name": 7, "plural": "cats", "drawing": "a", "tintable": true})", "its json");
  refused(disc, sprite_json("", "cats", "a", true), "not empty");
  refused({at::zeros({9, 9, 4}, at::kByte)}, sprite_json("cat", "cats", "a", true),
          "nothing in the picture is visible");
  refused({at::zeros({2, 1025, 4}, at::kByte)}, sprite_json("cat", "cats", "a", true),
          "at most 1024 pixels");
}

TEST_F(Sprites, OnePluralAThing) {
  TarWriter tar(folder / "two.tar");
  add_sprite(tar, "1", disc, sprite_json("mouse", "mice", "a", true));
  add_sprite(tar, "2", disc, sprite_json("mouse", "mouses", "b", true));
  tar.close();
  expect_error(ErrorKind::kBadData, "has two plurals, mice and mouses",
               [&] { read_sprites(folder / "two.tar"); });
}

TEST_F(Sprites, NoSpriteOrNoTar) {
  TarWriter tar(folder / "none.tar");
  tar.close();
  expect_error(ErrorKind::kBadData, "lexel data fetch sprites",
               [&] { read_sprites(folder / "none.tar"); });
  expect_error(ErrorKind::kIo, "missing.tar", [&] { read_sprites(folder / "missing.tar"); });
}

TEST_F(Sprites, ScalingKeepsColourAndShape) {
  for (const int64_t side : {5, 10, 48, 96}) {
    const RgbaImage scaled = scaled_sprite(visible_part(disc), side);
    EXPECT_LE(std::abs(scaled.width() - side), 1) << side;
    EXPECT_LE(std::abs(scaled.height() - side / 2), 1) << side;
    const uint8_t* rgba = scaled.pixels.data_ptr<uint8_t>();
    for (int64_t i = 0; i < scaled.height() * scaled.width(); ++i) {
      if (rgba[4 * i + 3] < 64) continue;  // of faint pixels the colour is rounded twice
      EXPECT_NEAR(rgba[4 * i], 200, 4);
      EXPECT_NEAR(rgba[4 * i + 1], 100, 4);
      EXPECT_NEAR(rgba[4 * i + 2], 50, 4);
    }
  }
  expect_error(ErrorKind::kUsage, "side", [&] { scaled_sprite(disc, 0); });
}

}  // namespace
}  // namespace lexel::data
