#include "apps/data/compose/composer.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "apps/data/compose/colours.h"
#include "apps/data/compose/grammar.h"
#include "apps/data/compose/held_out.h"
#include "tests/apps/data/compose/made_sprites.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace lexel::data {
namespace {

using tests::expect_error;
using tests::TemporaryFolder;

class ComposerTest : public testing::Test {
 protected:
  void SetUp() override { tests::write_made_sprites(sprites(), 40); }
  std::string sprites() const { return folder / "sprites.tar"; }
  Composer composer(const ComposeConfig& config = {}) const {
    return Composer(sprites(), {}, 7, config);
  }
  TemporaryFolder folder;
};

using Pixel = std::array<int, 3>;

Pixel pixel(const Image& image, int64_t x, int64_t y) {
  const uint8_t* rgb = image.pixels.data_ptr<uint8_t>() + 3 * (y * image.width() + x);
  return {rgb[0], rgb[1], rgb[2]};
}

bool inside(const PixelBox& box, int64_t x, int64_t y) {
  return x >= box.left && x < box.left + box.width && y >= box.top && y < box.top + box.height;
}

// On a plain background the pixels that differ from it are the things: each inside a box, and each edge of each box
// touched by one.
TEST_F(ComposerTest, BoxesAreWhereThePixelsAre) {
  const Composer plain = composer({.plain = 1, .gradient = 0, .photo = 0});
  for (int64_t number = 0; number < 200; ++number) {
    const Scene scene = plain.scene(number, number % 2 == 0 ? Split::kTrain : Split::kHeldOut);
    const auto& colours = background_colours();
    const auto named = std::ranges::find_if(colours, [&](const Colour& colour) {
      return colour.name == scene.truth.background.colour;
    });
    ASSERT_NE(named, colours.end());
    const Pixel background{named->rgb[0], named->rgb[1], named->rgb[2]};
    std::map<size_t, std::array<bool, 4>> touched;
    for (int64_t y = 0; y < 128; ++y) {
      for (int64_t x = 0; x < 128; ++x) {
        if (pixel(scene.picture, x, y) == background) continue;
        int boxes = 0;
        for (size_t i = 0; i < scene.truth.things.size(); ++i) {
          const PixelBox& box = scene.truth.things[i].box;
          if (!inside(box, x, y)) continue;
          ++boxes;
          std::array<bool, 4>& edges = touched[i];
          edges[0] |= x == box.left, edges[1] |= x == box.left + box.width - 1;
          edges[2] |= y == box.top, edges[3] |= y == box.top + box.height - 1;
        }
        ASSERT_EQ(boxes, 1) << scene.caption << " at " << x << ", " << y;
      }
    }
    for (size_t i = 0; i < scene.truth.things.size(); ++i)
      EXPECT_EQ(touched[i], (std::array<bool, 4>{true, true, true, true})) << scene.caption;
  }
}

TEST_F(ComposerTest, NothingHeldOutIsInTraining) {
  const Composer scenes = composer();
  std::map<HeldOut, int64_t> reasons;
  for (int64_t number = 0; number < 3000; ++number) {
    const Scene train = scenes.scene(number, Split::kTrain);
    ASSERT_EQ(held_out_part(train.truth), HeldOut::kNone) << train.caption;
    ASSERT_EQ(train.truth.held_out, HeldOut::kNone);
    const Scene out = scenes.scene(number, Split::kHeldOut);
    ASSERT_EQ(held_out_part(out.truth), out.truth.held_out) << out.caption;
    ASSERT_NE(out.truth.held_out, HeldOut::kNone) << out.caption;
    ++reasons[out.truth.held_out];
  }
  EXPECT_EQ(reasons.size(), 3u);
  for (const auto& [reason, count] : reasons) EXPECT_NEAR(static_cast<double>(count), 1000, 120);
}

TEST_F(ComposerTest, EveryThingIsSeenInTraining) {
  const Composer scenes = composer();
  std::set<std::string> seen;
  for (int64_t number = 0; number < 1500; ++number)
    for (const PlacedThing& thing : scenes.scene(number, Split::kTrain).truth.things)
      seen.insert(thing.name);
  EXPECT_EQ(seen.size(), 40u);
}

TEST_F(ComposerTest, ASceneIsTheSameWhateverTheOrderAndTheThread) {
  const Composer first = composer(), second = composer();
  EXPECT_EQ(first.fingerprint(), second.fingerprint());
  std::array<Scene, 24> scenes;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = t; i < scenes.size(); i += 4)
        scenes[i] = first.scene(static_cast<int64_t>(i), Split::kTrain);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = scenes.size(); i-- > 0;) {
    const Scene again = second.scene(static_cast<int64_t>(i), Split::kTrain);
    EXPECT_EQ(scenes[i].truth, again.truth);
    EXPECT_EQ(scenes[i].caption, again.caption);
    EXPECT_TRUE(at::equal(scenes[i].picture.pixels, again.picture.pixels)) << i;
  }
}

TEST_F(ComposerTest, SeedSplitAndConfigurationMakeOtherScenes) {
  const Composer one = composer(), two(sprites(), {}, 8), wide = composer({.canvas = 256});
  EXPECT_NE(one.fingerprint(), two.fingerprint());
  EXPECT_NE(one.fingerprint(), wide.fingerprint());
  EXPECT_NE(one.scene(3, Split::kTrain).truth, two.scene(3, Split::kTrain).truth);
  EXPECT_NE(one.scene(3, Split::kTrain).truth, one.scene(3, Split::kHeldOut).truth);
  EXPECT_EQ(wide.scene(0, Split::kTrain).picture.width(), 256);
}

TEST_F(ComposerTest, ThingsStandOnTheGridUnlessItIsOff) {
  // Of a round thing, place and box have the same middle: multiples of 8 give multiples of 4.
  const auto off_grid = [](const Composer& scenes) {
    int64_t count = 0;
    for (int64_t number = 0; number < 60; ++number)
      for (const PlacedThing& thing : scenes.scene(number, Split::kTrain).truth.things)
        count += (2 * thing.box.left + thing.box.width + 1) / 2 % 4 != 0;
    return count;
  };
  EXPECT_EQ(off_grid(composer()), 0);
  EXPECT_GT(off_grid(composer({.grid = 1})), 10);
}

// --- captions read back --------------------------------------------------------------------------------------------------

// What a caption says, by taking it apart word by word: written apart from the grammar.
struct Said {
  struct Thing {
    std::string name, colour;
    int64_t count = 1;
    Size size = Size::kMedium;
  };
  std::vector<Thing> things;
  Relation relation = Relation::kNone;
  std::string background;
};

bool cut(const std::string& what, std::string& text) {
  if (!text.starts_with(what)) return false;
  text.erase(0, what.size());
  return true;
}

Said::Thing read_thing(std::string text) {
  Said::Thing thing;
  const char* numbers[] = {"a ", "an ", "two ", "three ", "four ", "five "};
  const int64_t counts[] = {1, 1, 2, 3, 4, 5};
  bool counted = false;
  for (size_t i = 0; i < 6 && !counted; ++i) {
    counted = cut(numbers[i], text);
    if (counted) thing.count = counts[i];
  }
  EXPECT_TRUE(counted) << text;
  if (cut("small ", text) || cut("little ", text)) thing.size = Size::kSmall;
  if (cut("big ", text) || cut("large ", text)) thing.size = Size::kLarge;
  for (const Colour& colour : thing_colours())
    if (cut(std::string(colour.name) + " ", text)) thing.colour = colour.name;
  if (thing.count > 1 && text.ends_with("s")) text.pop_back();
  thing.name = text;
  return thing;
}

Said read_caption(std::string text) {
  Said said;
  for (const char* start : {"a picture of ", "a drawing of ", "a picture with ", "we can see ",
                            "there is ", "there are "})
    cut(start, text);
  const size_t on = std::min(text.find(" on a"), text.find(" in front of "));
  if (on != std::string::npos) {
    std::istringstream words(text.substr(on));
    std::string skip;
    words >> skip >> skip >> said.background;
    text.erase(on);
  }
  if (text.ends_with(" together")) text.erase(text.size() - 9);
  const std::pair<const char*, Relation> relations[] = {
      {"to the left of ", Relation::kLeftOf}, {"to the right of ", Relation::kRightOf},
      {"left of ", Relation::kLeftOf},        {"right of ", Relation::kRightOf},
      {"above ", Relation::kAbove},           {"over ", Relation::kAbove},
      {"below ", Relation::kBelow},           {"under ", Relation::kBelow}};
  for (const auto& [words, relation] : relations) {
    const size_t middle = text.find(" " + std::string(words));
    if (cut(words, text)) {  // "above a house there is a fish"
      const size_t there = text.find(" there is ");
      said.relation = relation;
      said.things = {read_thing(text.substr(there + 10)), read_thing(text.substr(0, there))};
      return said;
    }
    if (middle != std::string::npos) {
      said.relation = relation;
      said.things = {read_thing(text.substr(0, middle)),
                     read_thing(text.substr(middle + 1 + std::string(words).size()))};
      return said;
    }
  }
  for (;;) {
    const size_t end = std::min(text.find(", "), text.find(" and "));
    said.things.push_back(read_thing(text.substr(0, end)));
    if (end == std::string::npos) return said;
    text.erase(0, text[end] == ',' ? end + 2 : end + 5);
  }
}

TEST_F(ComposerTest, CaptionsSayWhatTheTruthIs) {
  const Composer scenes = composer();
  for (int64_t number = 0; number < 2000; ++number) {
    const Scene scene = scenes.scene(number, number % 2 == 0 ? Split::kTrain : Split::kHeldOut);
    const Truth& truth = scene.truth;
    EXPECT_EQ(caption_of(truth, truth.wording), scene.caption);
    const Said said = read_caption(scene.caption);
    const std::vector<Group> groups = groups_of(truth);
    EXPECT_EQ(said.relation, truth.relation) << scene.caption;
    ASSERT_EQ(said.things.size(), groups.size()) << scene.caption;
    for (size_t i = 0; i < groups.size(); ++i) {
      const PlacedThing& thing = truth.things[groups[i].first];
      EXPECT_EQ(said.things[i].name, thing.name) << scene.caption;
      EXPECT_EQ(said.things[i].count, static_cast<int64_t>(groups[i].count)) << scene.caption;
      EXPECT_EQ(said.things[i].colour, truth.wording.colour ? thing.colour : "") << scene.caption;
      EXPECT_EQ(said.things[i].size, truth.wording.size ? thing.size : Size::kMedium)
          << scene.caption;
    }
    if (truth.wording.background) {
      EXPECT_EQ(said.background, truth.background.colour);
    }
  }
}

// --- what cannot be drawn ------------------------------------------------------------------------------------------------

TEST_F(ComposerTest, RefusesAConfigurationThatCannotBeDrawn) {
  const auto refused = [&](const ComposeConfig& config, const std::string& message) {
    expect_error(ErrorKind::kUsage, message, [&] { composer(config); });
  };
  refused({.canvas = 16}, "a canvas from 32 to 1024, got 16");
  refused({.grid = 0}, "a grid");
  refused({.sizes = {48, 48, 64, 96}}, "three fit side by side");
  refused({.sizes = {32, 24, 64, 96}}, "a low size");
  refused({.sizes = {32, 48, 64, 160}}, "a large size");
  refused({.single = 0, .count = 0, .relation = 0, .several = 0}, "one kind of scene");
  refused({.single = -1}, "shares");
  refused({.single = std::nan("")}, "shares");
  refused({.tinted = 1.5}, "chances");
  refused({.plain = 0, .gradient = 0, .photo = 0}, "one kind of background");
}

TEST_F(ComposerTest, OneThingIsEnoughForItselfButNotForARelation) {
  tests::write_made_sprites(folder / "one.tar", 1);
  const Composer one(folder / "one.tar", {}, 1);
  for (int64_t number = 0; number < 50; ++number) {
    EXPECT_EQ(groups_of(one.scene(number, Split::kTrain).truth).size(), 1u);
    EXPECT_EQ(groups_of(one.scene(number, Split::kHeldOut).truth).size(), 1u);
  }
  expect_error(ErrorKind::kUsage, "expected more things", [&] {
    Composer(folder / "one.tar", {}, 1, {.single = 0, .count = 0, .relation = 1, .several = 0});
  });
}

TEST_F(ComposerTest, PhotosAreBackgroundsInOnePartOnly) {
  TarWriter tar(folder / "photos.tar");
  for (int i = 0; i < 5; ++i) {
    const std::vector<uint8_t> png =
        encode_image({at::full({90, 200 + i, 3}, 20 * i, at::kByte)}, "png");
    tar.add("photo-" + std::to_string(i) + ".png", png.data(), png.size());
  }
  tar.close();
  const Composer scenes(sprites(), {folder / "photos.tar"}, 7,
                        {.plain = 0, .gradient = 0, .photo = 1, .photos = 2});
  std::set<std::string> names;
  for (int64_t number = 0; number < 40; ++number) {
    const Background background = scenes.scene(number, Split::kTrain).truth.background;
    EXPECT_EQ(background.kind, BackgroundKind::kPhoto);
    EXPECT_EQ(background.colour, "");
    names.insert(background.photo);
  }
  EXPECT_EQ(names, (std::set<std::string>{"photo-0.png", "photo-3.png"}));
  expect_error(ErrorKind::kIo, "missing.tar",
               [&] { Composer(sprites(), {folder / "missing.tar"}, 7); });
  expect_error(ErrorKind::kUsage, "got -1", [&] { scenes.scene(-1, Split::kTrain); });
}

}  // namespace
}  // namespace lexel::data
