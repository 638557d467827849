#include "apps/train/detector/detector_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/apps/eval/detector/tiny_detector.h"
#include "tests/support/expect_error.h"

namespace lexel::train {
namespace {

/// 64 pixels, 8 x 8 cells.
eval::DetectorConfig config() {
  eval::DetectorConfig c = tests::tiny_detector_config();
  c.image_size = 64;
  return c;
}

data::Truth scene(std::vector<data::PlacedThing> things, const std::string& background = "white") {
  data::Truth truth;
  truth.things = std::move(things);
  truth.background.colour = background;
  return truth;
}

data::PlacedThing thing(const std::string& name, data::PixelBox box,
                        const std::string& colour = "") {
  return {name, name + "s", "made", colour, data::Size::kMedium, box};
}

TEST(DetectorTargets, AMiddleIsOneCell) {
  // The middle is (24, 40): between cells 2 and 3 across, cell 5 down starts at 40.
  const DetectorTargets targets = targets_of({scene({thing("cat", {8, 24, 32, 32})})}, config());
  EXPECT_EQ(targets.heat.eq(1.0F).sum().item<int64_t>(), 1);
  EXPECT_EQ((targets.heat[0][5][3].item<float>()), 1.0F);
  EXPECT_GT((targets.heat[0][5][2].item<float>()), 0.2F);  // as near to the middle
  EXPECT_LT((targets.heat[0][5][2].item<float>()), 1.0F);
  EXPECT_EQ((targets.heat[0][0][0].item<float>()), 0.0F);
}

TEST(DetectorTargets, AThingIsNamedByItsInnerHalf) {
  const DetectorTargets targets =
      targets_of({scene({thing("cat", {8, 24, 32, 32}, "blue")})}, config());
  EXPECT_NEAR(targets.weight.sum().item<double>(), 1.0, 1e-6);
  EXPECT_EQ(targets.weight.gt(0).sum().item<int64_t>(), 4);  // cells 2, 3 across, 4, 5 down
  for (const int64_t row : {4, 5}) {
    for (const int64_t column : {2, 3}) {
      EXPECT_EQ((targets.things[0][row][column].item<int64_t>()), 1);
      EXPECT_EQ((targets.colours[0][row][column].item<int64_t>()), 1);
      EXPECT_EQ((targets.side[0][row][column].item<float>()), 0.0F);  // 32 pixels
    }
  }
  EXPECT_TRUE(targets.tinted.equal(targets.weight));
}

TEST(DetectorTargets, TheLaterThingIsOnTopAndASmallOneHasACell) {
  const DetectorTargets targets = targets_of(
      {scene({thing("house", {0, 0, 64, 64}), thing("ball", {27, 27, 6, 6})}, "photo")}, [] {
        eval::DetectorConfig c = config();
        return c;
      }());
  EXPECT_EQ((targets.things[0][3][3].item<int64_t>()), 0);  // the ball's cell in the house's middle
  EXPECT_NEAR((targets.weight[0][3][3].item<double>()), 1.0, 1e-6);
  EXPECT_NEAR(targets.weight.sum().item<double>(), 2.0, 1e-5);
  EXPECT_EQ(targets.tinted.sum().item<double>(), 0.0);  // neither is tinted
  EXPECT_NEAR((targets.side[0][2][2].item<double>()), 1.0, 1e-6);
}

TEST(DetectorTargets, BackgroundsByName) {
  data::Truth photo = scene({}, "");
  photo.background.kind = data::BackgroundKind::kPhoto;
  const DetectorTargets targets = targets_of({scene({}, "white"), photo}, config());
  EXPECT_EQ((targets.background[0].argmax().item<int64_t>()), 1);
  EXPECT_EQ((targets.background[1].argmax().item<int64_t>()), 2);
  EXPECT_EQ(targets.background.sum().item<float>(), 2.0F);
}

TEST(DetectorTargets, NamesWhatItDoesNotKnow) {
  tests::expect_error(ErrorKind::kBadData, "no thing called \"dog\"", [] {
    targets_of({scene({thing("dog", {0, 0, 32, 32})})}, config());
  });
  tests::expect_error(ErrorKind::kBadData, "no colour called \"green\"", [] {
    targets_of({scene({thing("cat", {0, 0, 32, 32}, "green")})}, config());
  });
  tests::expect_error(ErrorKind::kBadData, "no background called \"mauve\"",
                      [] { targets_of({scene({}, "mauve")}, config()); });
}

eval::DetectorMaps blank(double centre_logit) {
  return {at::full({1, 8, 8}, centre_logit), at::zeros({1, 8, 8}), at::zeros({1, 3, 8, 8}),
          at::zeros({1, 2, 8, 8}), at::zeros({1, 3})};
}

TEST(DetectorLoss, KnowingNothingCostsTheLogOfTheChoices) {
  const DetectorTargets targets =
      targets_of({scene({thing("cat", {8, 24, 32, 32}, "red")})}, config());
  const DetectorLoss loss = detector_loss(blank(0.0), targets);
  EXPECT_NEAR(loss.thing.item<double>(), std::log(3.0), 1e-5);
  EXPECT_NEAR(loss.colour.item<double>(), std::log(2.0), 1e-5);
  EXPECT_NEAR(loss.background.item<double>(), 3 * std::log(2.0), 1e-5);
  EXPECT_NEAR(loss.side.item<double>(), 0.0, 1e-6);
}

TEST(DetectorLoss, TheRightAnswerIsCheaperThanAnyOther) {
  const DetectorTargets targets =
      targets_of({scene({thing("cat", {8, 24, 32, 32}, "red")})}, config());
  const auto answer = [](int64_t row, int64_t column, int64_t name, int64_t colour, double side) {
    eval::DetectorMaps maps = blank(-6.0);
    maps.centre[0][row][column] = 6.0;
    maps.things.select(1, name).fill_(6.0);
    maps.colours.select(1, colour).fill_(6.0);
    maps.side.fill_(side);
    maps.background.fill_(-6.0);
    maps.background[0][1] = 6.0;
    return maps;
  };
  const double right = detector_loss(answer(5, 3, 1, 0, 0.0), targets).total().item<double>();
  EXPECT_LT(right, 0.05);
  EXPECT_GT(detector_loss(answer(1, 1, 1, 0, 0.0), targets).total().item<double>(), right + 1);
  EXPECT_GT(detector_loss(answer(5, 3, 0, 0, 0.0), targets).total().item<double>(), right + 1);
  EXPECT_GT(detector_loss(answer(5, 3, 1, 1, 0.0), targets).total().item<double>(), right + 1);
  EXPECT_GT(detector_loss(answer(5, 3, 1, 0, 2.0), targets).total().item<double>(), right + 0.5);
}

TEST(DetectorLoss, APictureOfNothingIsFinite) {
  const DetectorTargets targets = targets_of({scene({})}, config());
  EXPECT_TRUE(std::isfinite(detector_loss(blank(0.0), targets).total().item<double>()));
}

}  // namespace
}  // namespace lexel::train
