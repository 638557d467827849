#include "apps/train/timeline_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lexel::train {
namespace {

using testing::HasSubstr;

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

TEST(TimelineChart, DrawsEachEventInARowWithoutOverlap) {
  const std::string svg =
      timeline_chart({{"forward 7", "forward", 0, 0, 0, 5e5},
                      {"backward 7", "backward", 0, 0, 5e5, 1e6},
                      {"reduce-scatter bucket 0", "reduce-scatter", 0, 1, 6e5, 9e5},
                      {"reduce-scatter bucket 1", "reduce-scatter", 0, 1, 7e5, 9e5},
                      {"wait for it", "wait", 1, 0, 0, 1e6}});
  EXPECT_EQ(count(svg, "<title>"), 5U);
  EXPECT_THAT(svg, HasSubstr("<title>backward 7: 500 ms</title>"));
  EXPECT_EQ(count(svg, ">7</text>"), 2U);  // the number of forward and backward
  EXPECT_EQ(count(svg, ">rank 0</text>"), 1U);
  EXPECT_EQ(count(svg, ">rank 0 sends</text>"), 1U);
  EXPECT_EQ(count(svg, ">rank 1</text>"), 1U);
  EXPECT_EQ(count(svg, "y=\"34\" width"), 2U);  // both of rank 0 in one row
  EXPECT_EQ(count(svg, "y=\"60\" width"), 1U);  // buckets at once in rows of their own
  EXPECT_EQ(count(svg, "y=\"78\" width"), 1U);
  EXPECT_THAT(svg, HasSubstr("1000 ms"));
}

TEST(TimelineChart, NothingIsAPictureToo) { EXPECT_THAT(timeline_chart({}), HasSubstr("</svg>")); }

}  // namespace
}  // namespace lexel::train
