#include "apps/eval/detector/sight.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "tests/apps/eval/detector/tiny_detector.h"
#include "tests/support/random_tensor.h"

namespace lexel::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Score maps by hand: a picture of 64 pixels, 8 x 8 cells, nothing in it until something is put.
class HandMade {
 public:
  HandMade() {
    config.image_size = 64;
    maps.centre = at::full({1, 8, 8}, -9.0);
    maps.side = at::zeros({1, 8, 8});
    maps.things = at::zeros({1, 3, 8, 8});
    maps.colours = at::zeros({1, 2, 8, 8});
    maps.background = at::full({1, 3}, -9.0);
  }

  void put(int64_t row, int64_t column, int64_t thing, double centre_logit, int64_t colour = 0,
           double log_side = 0.0) {
    maps.centre[0][row][column] = centre_logit;
    maps.things[0][thing][row][column] = 12.0;
    maps.colours[0][colour][row][column] = 5.0;
    maps.side[0][row][column] = log_side;
  }

  Sight read(double threshold = 0.5) const { return read_maps(maps, config, threshold).front(); }

  DetectorConfig config = tests::tiny_detector_config();
  DetectorMaps maps;
};

std::vector<std::string> names(const Sight& sight) {
  std::vector<std::string> list;
  for (const FoundThing& thing : sight.things) list.push_back(thing.name);
  return list;
}

TEST(ReadMaps, SeesNothingInNothing) {
  const Sight sight = HandMade().read();
  EXPECT_THAT(sight.things, IsEmpty());
  EXPECT_THAT(sight.backgrounds, IsEmpty());
}

TEST(ReadMaps, GivesNameHueMiddleAndSideOfAPeak) {
  HandMade scene;
  scene.put(2, 5, 1, 3.0, 1, 1.0);
  const Sight sight = scene.read();
  ASSERT_EQ(sight.things.size(), 1u);
  const FoundThing& cat = sight.things[0];
  EXPECT_EQ(cat.name, "cat");
  EXPECT_EQ(cat.colour, "blue");
  EXPECT_NEAR(cat.score, 0.9526, 1e-3);  // sigmoid(3) x softmax(12, 0, 0)
  EXPECT_NEAR(cat.x, 44, 0.1);
  EXPECT_NEAR(cat.y, 20, 0.1);
  EXPECT_DOUBLE_EQ(cat.side, 64);
}

TEST(ReadMaps, TheThresholdCutsTheProductOfBothChances) {
  HandMade scene;
  scene.put(1, 1, 0, 0.0);  // sigmoid 0.5
  EXPECT_THAT(names(scene.read(0.49)), ElementsAre("ball"));
  EXPECT_THAT(names(scene.read(0.51)), IsEmpty());
  scene.maps.things.zero_();  // each of three is as likely
  EXPECT_THAT(names(scene.read(0.2)), IsEmpty());
  EXPECT_EQ(scene.read(0.16).things.size(), 1u);
}

TEST(ReadMaps, NeighbouringCellsAreOneThing) {
  HandMade scene;
  scene.put(3, 3, 2, 3.0);
  scene.put(3, 4, 2, 2.0);
  scene.put(4, 3, 1, 1.0);  // another name does not make another thing
  const Sight sight = scene.read();
  EXPECT_THAT(names(sight), ElementsAre("house"));
  EXPECT_GT(sight.things[0].x, 28.0);  // the middle leans towards the weaker cells
}

TEST(ReadMaps, ALargeThingHasNoSecondMiddleInside) {
  HandMade scene;
  scene.put(2, 2, 0, 3.0, 0, 1.0);  // 64 pixels
  scene.put(2, 5, 0, 2.0, 0, 1.0);  // 24 pixels beside it
  EXPECT_EQ(scene.read().things.size(), 1u);
  scene.maps.side.zero_();  // as two things of 32 pixels they have room
  EXPECT_EQ(scene.read().things.size(), 2u);
}

TEST(ReadMaps, BestFirst) {
  HandMade scene;
  scene.put(0, 0, 0, 1.0);
  scene.put(7, 7, 1, 4.0);
  scene.put(0, 7, 2, 2.0);
  EXPECT_THAT(names(scene.read()), ElementsAre("cat", "house", "ball"));
}

TEST(ReadMaps, BackgroundsApplyEachOnItsOwn) {
  HandMade scene;
  scene.maps.background[0][0] = 2.0;
  EXPECT_THAT(scene.read().backgrounds, ElementsAre("red"));
  scene.maps.background[0][1] = 1.0;
  EXPECT_THAT(scene.read().backgrounds, ElementsAre("red", "white"));
}

TEST(Look, DoesNotDependOnTheBatch) {
  DetectorConfig config = tests::tiny_detector_config();
  config.threshold = 0.001;
  const Detector detector = make_detector(config, 5, at::kCPU);
  const at::Tensor pictures = tests::random_uniform(1, {40, 3, 32, 32});
  const auto all = look(detector, pictures);
  ASSERT_EQ(all.size(), 40u);
  const auto last = look(detector, pictures.narrow(0, 39, 1));
  ASSERT_FALSE(all[39].things.empty());
  ASSERT_EQ(all[39].things.size(), last[0].things.size());
  EXPECT_EQ(all[39].things[0].name, last[0].things[0].name);
  EXPECT_NEAR(all[39].things[0].score, last[0].things[0].score, 1e-5);
}

}  // namespace
}  // namespace lexel::eval
