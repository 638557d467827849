#include "spae/pyramid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

#include "tests/support/expect_error.h"

namespace lexel::spae {
namespace {

using testing::ElementsAre;
using tests::expect_error;

const Pyramid kSix = make_pyramid({1, 2, 4, 8, 16, 16});

TEST(PyramidTest, CountsAreThePapers) {
  std::vector<int64_t> tokens;
  const Pyramid eight = make_pyramid({1, 2, 4, 8, 16, 16, 16, 16});
  for (int64_t layer = 1; layer <= 8; ++layer) tokens.push_back(eight.tokens(layer));
  EXPECT_THAT(tokens, ElementsAre(1, 5, 21, 85, 341, 597, 853, 1109));
}

TEST(PyramidTest, PositionsAreThoseOfTheDilationSubsampler) {
  const auto at = [](int64_t row, int64_t column) { return (row - 1) * 16 + column - 1; };
  EXPECT_THAT(kSix.positions[0], ElementsAre(at(9, 9)));
  EXPECT_THAT(kSix.positions[1], ElementsAre(at(5, 5), at(5, 13), at(13, 5), at(13, 13)));
  EXPECT_EQ(kSix.positions[2].front(), at(3, 3));
  EXPECT_EQ(kSix.positions[2].back(), at(15, 15));
  EXPECT_EQ(kSix.positions[3].front(), at(2, 2));
  EXPECT_EQ(kSix.positions[3][1], at(2, 4));
  for (int64_t position = 0; position < 256; ++position) {
    EXPECT_EQ(kSix.positions[4][static_cast<size_t>(position)], position);
    EXPECT_EQ(kSix.positions[5][static_cast<size_t>(position)], position);
  }
}

TEST(PyramidTest, LayersOneToFourShareNoPosition) {
  std::set<int64_t> seen;
  for (size_t layer = 0; layer < 4; ++layer) {
    seen.insert(kSix.positions[layer].begin(), kSix.positions[layer].end());
  }
  EXPECT_EQ(seen.size(), 85U);
  EXPECT_TRUE(kSix.disjoint(4));
  EXPECT_FALSE(kSix.disjoint(5));
}

TEST(PyramidTest, VisitsAreCounted) {
  std::vector<int64_t> of_count(4, 0);
  for (const int64_t visits : kSix.visits(6)) ++of_count[static_cast<size_t>(visits)];
  EXPECT_THAT(of_count, ElementsAre(0, 0, 171, 85));  // three where a layer above has been
  of_count.assign(4, 0);
  for (const int64_t visits : kSix.visits(3)) ++of_count[static_cast<size_t>(visits)];
  EXPECT_THAT(of_count, ElementsAre(235, 21, 0, 0));
}

TEST(PyramidTest, NearestVisitedIsTheFirstOfEquallyNearOnes) {
  const std::vector<int64_t> one = kSix.nearest_visited(1);
  for (const int64_t position : one) EXPECT_EQ(position, 8 * 16 + 8);
  const std::vector<int64_t> two = kSix.nearest_visited(2);
  EXPECT_EQ(two[0], 4 * 16 + 4);
  EXPECT_EQ(two[255], 12 * 16 + 12);
  EXPECT_EQ(two[4 * 16 + 8], 4 * 16 + 4);  // (5, 9): as far from (5, 5), (5, 13) and (9, 9)
  EXPECT_EQ(two[8 * 16 + 8], 8 * 16 + 8);  // visited itself
  const std::vector<int64_t> all = kSix.nearest_visited(5);
  for (int64_t position = 0; position < 256; ++position) {
    EXPECT_EQ(all[static_cast<size_t>(position)], position);
  }
}

TEST(PyramidTest, TokensThatEndInsideOfALayerAreNamedWithIt) {
  EXPECT_EQ(kSix.layers_of(1), 1);
  EXPECT_EQ(kSix.layers_of(85), 4);
  EXPECT_EQ(kSix.layers_of(597), 6);
  expect_error(ErrorKind::kBadData, "in the middle of layer 5: expected 341 to its end, got 340",
               [] { kSix.layers_of(340); });
  expect_error(ErrorKind::kBadData, "expected at most 597 tokens (6 layers), got 598",
               [] { kSix.layers_of(598); });
  expect_error(ErrorKind::kBadData, "got none", [] { kSix.layers_of(0); });
}

TEST(PyramidTest, RefusesSidesThatCannotBe) {
  expect_error(ErrorKind::kUsage, "1 to 16 sides, got 0", [] { make_pyramid({}); });
  expect_error(ErrorKind::kUsage, "1 to 256, got 0", [] { make_pyramid({0, 4}); });
  expect_error(ErrorKind::kUsage, "1 to 256, got 512", [] { make_pyramid({512}); });
  expect_error(ErrorKind::kUsage, "divide the last, 16, got 3", [] { make_pyramid({3, 16}); });
  expect_error(ErrorKind::kUsage, "rise or stay, got 2 after 4", [] { make_pyramid({4, 2, 4}); });
}

}  // namespace
}  // namespace lexel::spae
