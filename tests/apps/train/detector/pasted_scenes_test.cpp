#include "apps/train/detector/pasted_scenes.h"

#include <gtest/gtest.h>
#include <set>

#include "tests/apps/eval/detector/made_sprites.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace lexel::train {
namespace {

class PastedScenesTest : public testing::Test {
 protected:
  tests::TemporaryFolder folder_;
  std::string sprites_ = tests::made_sprites(folder_ / "sprites.tar");
};

TEST_F(PastedScenesTest, ASceneDependsOnSeedAndNumberAlone) {
  PastedScenes one(sprites_, {}, 1, {}), other(sprites_, {}, 1, {}),
      another_seed(sprites_, {}, 2, {});
  one.scene(3);
  const data::Scene scene = one.scene(7), again = other.scene(7);
  EXPECT_TRUE(scene.picture.pixels.equal(again.picture.pixels));
  EXPECT_EQ(scene.truth, again.truth);
  EXPECT_FALSE(scene.picture.pixels.equal(another_seed.scene(7).picture.pixels));
  EXPECT_FALSE(scene.picture.pixels.equal(one.scene(8).picture.pixels));
}

TEST_F(PastedScenesTest, EverythingThatTheConfigAllowsHappens) {
  PasteConfig config;
  config.max_things = 4;
  PastedScenes scenes(sprites_, {}, 1, config);
  std::set<std::string> names, colours, backgrounds;
  std::set<size_t> counts;
  bool twice = false, off_grid = false;
  for (int64_t i = 0; i < 200; ++i) {
    const data::Scene scene = scenes.scene(i);
    EXPECT_EQ(scene.picture.pixels.sizes(), at::IntArrayRef({128, 128, 3}));
    counts.insert(scene.truth.things.size());
    backgrounds.insert(scene.truth.background.colour);
    std::set<std::string> here;
    for (const data::PlacedThing& thing : scene.truth.things) {
      const int64_t side = std::max(thing.box.width, thing.box.height);
      EXPECT_GE(side, config.min_side - 1);
      EXPECT_LE(side, config.max_side);
      EXPECT_GE(std::min(thing.box.left, thing.box.top), 0);
      EXPECT_LE(thing.box.left + thing.box.width, 128);
      EXPECT_LE(thing.box.top + thing.box.height, 128);
      if (!thing.colour.empty()) {
        EXPECT_EQ(thing.name, "disc");
      }
      if (!here.insert(thing.name).second) twice = true;
      if (thing.box.left % 8 != 0) off_grid = true;
      names.insert(thing.name);
      colours.insert(thing.colour);
    }
  }
  EXPECT_EQ(names.size(), 4u);
  EXPECT_EQ(colours.size(), 10u);  // nine and none
  EXPECT_EQ(backgrounds.size(), 11u);
  EXPECT_EQ(counts, (std::set<size_t>{1, 2, 3, 4}));
  EXPECT_TRUE(twice);
  EXPECT_TRUE(off_grid);
}

TEST_F(PastedScenesTest, NothingIsHiddenWhereNothingMayBe) {
  PasteConfig config;
  config.visible = 1.0;
  config.max_side = 64;
  PastedScenes scenes(sprites_, {}, 1, config);
  const auto rows = [](const data::PlacedThing& thing) {  // squares fill their boxes
    return thing.name == "square";
  };
  for (int64_t i = 0; i < 50; ++i) {
    const auto things = scenes.scene(i).truth.things;
    for (size_t a = 0; a < things.size(); ++a) {
      for (size_t b = a + 1; b < things.size(); ++b) {
        if (!rows(things[a]) || !rows(things[b])) continue;
        const data::PixelBox &x = things[a].box, &y = things[b].box;
        EXPECT_TRUE(x.left + x.width <= y.left || y.left + y.width <= x.left ||
                    x.top + x.height <= y.top || y.top + y.height <= x.top);
      }
    }
  }
}

TEST_F(PastedScenesTest, RefusesWhatCannotBe) {
  const auto with = [&](auto change) {
    PasteConfig config;
    change(config);
    PastedScenes(sprites_, {}, 1, config);
  };
  using tests::expect_error;
  expect_error(ErrorKind::kUsage, "min_side",
               [&] { with([](PasteConfig& c) { c.max_side = 200; }); });
  expect_error(ErrorKind::kUsage, "max_things",
               [&] { with([](PasteConfig& c) { c.max_things = 0; }); });
  expect_error(ErrorKind::kUsage, "visible",
               [&] { with([](PasteConfig& c) { c.visible = 1.5; }); });
}

}  // namespace
}  // namespace lexel::train
