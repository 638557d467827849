#include "apps/train/budget.h"

#include <gtest/gtest.h>
#include <limits>

#include "tests/support/expect_error.h"

namespace lexel::train {
namespace {

TEST(Budget, OfStepsIsThePlan) {
  const Budget budget(400, 0.0, Plan{10, 0.5, 20}, 60.0);
  EXPECT_DOUBLE_EQ(budget.progress(100), 0.25);
  EXPECT_FALSE(budget.finished(399));
  EXPECT_TRUE(budget.finished(400));
  EXPECT_FALSE(budget.first_estimate_due(20));
}

TEST(Budget, OfMinutesGoesOnWithThePlanOfTheCheckpoint) {
  const Budget budget(0, 2.0, Plan{0, 0.0, 100}, 60.0);
  EXPECT_DOUBLE_EQ(budget.progress(90), 0.9);
  EXPECT_GE(budget.elapsed_s(), 60.0);
  EXPECT_FALSE(budget.finished(99));
  EXPECT_TRUE(budget.finished(100));
  EXPECT_TRUE(Budget(0, 2.0, Plan{0, 0.0, 100}, 121.0).finished(1));
}

TEST(Budget, AnotherNumberOfMinutesIsTheShareOfTheirTimeThenEstimatedAnew) {
  Budget budget(0, 2.0, Plan{0, 0.0, 100}, 60.0);
  budget.change_length(100);
  EXPECT_NEAR(budget.progress(100), 0.5, 0.01);
  EXPECT_FALSE(budget.finished(100));
  ASSERT_TRUE(budget.first_estimate_due(20));
  budget.measure_from(100);
  budget.estimate(120);  // 20 steps in no time
  EXPECT_NEAR(budget.progress(120), 0.5, 0.01);
  EXPECT_GT(budget.plan().total_steps, 1000);
  EXPECT_DOUBLE_EQ(budget.progress(budget.plan().total_steps), 1.0);
}

TEST(Budget, FewerMinutesThanHavePassedAreTheEnd) {
  Budget budget(0, 0.5, Plan{0, 0.0, 100}, 60.0);
  budget.change_length(50);
  EXPECT_DOUBLE_EQ(budget.progress(50), 1.0);
  EXPECT_TRUE(budget.finished(50));
}

TEST(Budget, AnotherNumberOfStepsIsTheirShare) {
  Budget budget(200, 0.0, Plan{0, 0.0, 100}, 60.0);
  budget.change_length(100);
  EXPECT_DOUBLE_EQ(budget.progress(100), 0.5);
}

TEST(UsualLoss, AnExplosionNamesTheStepOnceTheLossIsKnown) {
  UsualLoss usual;
  for (int64_t step = 0; step < 60; ++step) usual.observe(step, 2.0);
  EXPECT_NEAR(usual.value, 2.0, 1e-9);
  EXPECT_NO_THROW(usual.observe(60, 150.0));
  tests::expect_error(ErrorKind::kBadData, "step 62: the loss exploded to 5000",
                      [&] { usual.observe(61, 5000.0); });
  tests::expect_error(ErrorKind::kBadData, "step 63: the loss is not finite",
                      [&] { usual.observe(62, std::numeric_limits<double>::quiet_NaN()); });
  EXPECT_NO_THROW(UsualLoss{0.001}.observe(10, 5000.0));  // too early to know
}

}  // namespace
}  // namespace lexel::train
