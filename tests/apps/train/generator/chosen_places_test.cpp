#include "apps/train/generator/chosen_places.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::train {
namespace {

// 200 pictures of 64 places: 56 of one code, then 8 codes that stand once each.
at::Tensor pictures() {
  at::Tensor tokens = at::zeros({200, 64}, at::kLong);
  tokens.narrow(1, 56, 8).copy_(at::arange(1, 9).expand({200, 8}));
  return tokens;
}

TEST(ChosenPlaces, AreDistinctAscendingAndInside) {
  const at::Tensor places = chosen_places(pictures(), 24, 1, 0);
  EXPECT_EQ(places.sizes(), (std::vector<int64_t>{200, 24}));
  EXPECT_TRUE(places.narrow(1, 1, 23).gt(places.narrow(1, 0, 23)).all().item<bool>());
  EXPECT_GE(places.min().item<int64_t>(), 0);
  EXPECT_LT(places.max().item<int64_t>(), 64);
}

TEST(ChosenPlaces, EachCodeOfAPictureCountsTheSame) {
  // One place: the code of 56 places has a chance of 1 in 9, not of 56 in 64.
  const double common = chosen_places(pictures().repeat({10, 1}), 1, 1, 0)
                            .lt(56)
                            .to(at::kFloat)
                            .mean()
                            .item<double>();
  EXPECT_NEAR(common, 1.0 / 9.0, 0.03);
}

TEST(ChosenPlaces, AllPlacesAreAllPlaces) {
  EXPECT_TRUE(chosen_places(pictures(), 64, 1, 0).equal(at::arange(64).expand({200, 64})));
}

TEST(ChosenPlaces, DependOnTheSeedAndTheSamplesNumberOnly) {
  const at::Tensor all = chosen_places(pictures(), 16, 7, 100);
  EXPECT_TRUE(chosen_places(pictures().narrow(0, 0, 5), 16, 7, 110).equal(all.narrow(0, 10, 5)));
  EXPECT_FALSE(chosen_places(pictures(), 16, 8, 100).equal(all));
}

TEST(ChosenPlaces, RefusesMoreThanThereAre) {
  tests::expect_error(ErrorKind::kUsage, "1 to 64 places",
                      [] { (void)chosen_places(pictures(), 65, 1, 0); });
}

}  // namespace
}  // namespace lexel::train
