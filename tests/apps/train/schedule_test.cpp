#include "apps/train/schedule.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::train {
namespace {

using tests::expect_error;

TEST(Curve, GoesStraightBetweenPoints) {
  const Curve curve = parse_curve("0:0 0.5:1 1:0.5", "x");
  EXPECT_DOUBLE_EQ(curve.at(0.0), 0.0);
  EXPECT_DOUBLE_EQ(curve.at(0.25), 0.5);
  EXPECT_DOUBLE_EQ(curve.at(0.75), 0.75);
  EXPECT_DOUBLE_EQ(curve.at(1.0), 0.5);
}

TEST(Curve, TwoPointsAtOneProgressAreAJump) {
  const Curve curve = parse_curve("0:0 0.3:0 0.3:2", "x");
  EXPECT_DOUBLE_EQ(curve.at(0.2999), 0.0);
  EXPECT_DOUBLE_EQ(curve.at(0.3), 2.0);
  EXPECT_DOUBLE_EQ(curve.at(1.0), 2.0);
}

TEST(Curve, OneNumberIsAConstant) {
  const Curve curve = parse_curve("0.25", "x");
  EXPECT_DOUBLE_EQ(curve.at(0.0), 0.25);
  EXPECT_DOUBLE_EQ(curve.at(1.0), 0.25);
}

TEST(Curve, HoldsTheFirstValueBeforeTheFirstPoint) {
  EXPECT_DOUBLE_EQ(parse_curve("0.5:3 1:4", "x").at(0.1), 3.0);
}

TEST(Curve, RefusesWhatItCannotRead) {
  expect_error(ErrorKind::kUsage, "x: expected a number, got 'a'", [] { parse_curve("a", "x"); });
  expect_error(ErrorKind::kUsage, "expected a number or points", [] { parse_curve("", "x"); });
  expect_error(ErrorKind::kUsage, "ascending", [] { parse_curve("0.5:1 0.2:1", "x"); });
  expect_error(ErrorKind::kUsage, "progress in 0..1", [] { parse_curve("2:1", "x"); });
  expect_error(ErrorKind::kUsage, "one number or points", [] { parse_curve("1 2", "x"); });
}

TEST(Curves, AreReadByName) {
  const auto curves = parse_curves("encoder=0:0 1:1; linear=0.05", "rates");
  ASSERT_EQ(curves.size(), 2u);
  EXPECT_DOUBLE_EQ(curves.at("encoder").at(0.5), 0.5);
  EXPECT_DOUBLE_EQ(curves.at("linear").at(0.5), 0.05);
  EXPECT_TRUE(parse_curves("", "rates").empty());
  expect_error(ErrorKind::kUsage, "'a' is given twice", [] { parse_curves("a=1;a=2", "rates"); });
  expect_error(ErrorKind::kUsage, "NAME=VALUE", [] { parse_curves("a", "rates"); });
}

TEST(Weights, AreReadByName) {
  const auto weights = parse_weights("a=0.5 b=2", "mixture");
  EXPECT_DOUBLE_EQ(weights.at("a"), 0.5);
  EXPECT_DOUBLE_EQ(weights.at("b"), 2.0);
  expect_error(ErrorKind::kUsage, "at least 0", [] { parse_weights("a=-1", "mixture"); });
}

TEST(WarmupCosine, RisesThenFallsToTheFinalRate) {
  EXPECT_DOUBLE_EQ(warmup_cosine(0, 10, 0.0, 0.1), 0.1);
  EXPECT_DOUBLE_EQ(warmup_cosine(4, 10, 0.0, 0.1), 0.5);
  EXPECT_DOUBLE_EQ(warmup_cosine(9, 10, 0.0, 0.1), 1.0);
  EXPECT_NEAR(warmup_cosine(500, 10, 0.5, 0.1), 0.55, 1e-12);
  EXPECT_NEAR(warmup_cosine(1000, 10, 1.0, 0.1), 0.1, 1e-12);
}

TEST(Plan, WithStepsProgressIsTheShareOfSteps) {
  const Plan plan{0, 0.0, 200};
  EXPECT_DOUBLE_EQ(plan.progress(0), 0.0);
  EXPECT_DOUBLE_EQ(plan.progress(50), 0.25);
  EXPECT_DOUBLE_EQ(plan.progress(300), 1.0);
}

TEST(Plan, UnknownLengthStaysWhereItIs) { EXPECT_DOUBLE_EQ(Plan{}.progress(15), 0.0); }

TEST(Plan, RevisionNeverJumpsAndEndsAtOne) {
  const Plan plan{0, 0.0, 200};
  const Plan slower = plan.revised(100, 400);
  EXPECT_DOUBLE_EQ(slower.progress(100), 0.5);
  EXPECT_DOUBLE_EQ(slower.progress(300), 0.75);
  EXPECT_DOUBLE_EQ(slower.progress(500), 1.0);
}

}  // namespace
}  // namespace lexel::train
