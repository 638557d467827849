#include "apps/plan/scaling_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lexel::cli {
namespace {

using ::testing::HasSubstr;

TEST(ScalingChart, CurvesHaveTheirPointsAndNames) {
  const std::string svg = scaling_chart(
      {{"small", {{8, 10}, {16, 19}, {1024, 1000}}}, {"none", {}}, {"large", {{8, 1}}}});
  EXPECT_THAT(svg, ::testing::StartsWith("<svg xmlns="));
  EXPECT_THAT(svg, ::testing::EndsWith("</svg>\n"));
  EXPECT_THAT(svg, HasSubstr(">small</text>"));
  EXPECT_THAT(svg, HasSubstr(">large</text>"));
  EXPECT_THAT(svg, ::testing::Not(HasSubstr("none<")));
  EXPECT_THAT(svg, HasSubstr("predicted"));
  EXPECT_THAT(svg, HasSubstr(">1024</text>"));
  EXPECT_THAT(svg, HasSubstr(">1000</text>"));
  // Eight devices at the left border, 10 pictures a second a third of the way up (1 to 1000).
  EXPECT_THAT(svg, HasSubstr("points=\"64,246.667 "));
  EXPECT_THAT(svg, ::testing::Not(HasSubstr("nan")));
  EXPECT_THAT(svg, ::testing::Not(HasSubstr("inf")));
}

}  // namespace
}  // namespace lexel::cli
