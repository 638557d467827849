#include "apps/progress.h"

#include <gtest/gtest.h>

namespace lexel::cli {
namespace {

TEST(FormatDuration, UsesTheTwoLargestUnits) {
  EXPECT_EQ(format_duration(7.6), "8 s");
  EXPECT_EQ(format_duration(130), "2 min 10 s");
  EXPECT_EQ(format_duration(3900), "1 h 5 min");
}

TEST(Progress, IsSilentWhereStderrIsNoTerminal) {
  testing::internal::CaptureStderr();  // a file
  {
    Progress progress("work", 10, "pictures", false);
    progress.update(5);
    progress.update(10);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace lexel::cli
