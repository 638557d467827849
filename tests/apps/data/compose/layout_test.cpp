#include "apps/data/compose/layout.h"

#include <gtest/gtest.h>

namespace lexel::data {
namespace {

bool apart(const Place& a, const Place& b) {
  return a.left + a.side <= b.left || b.left + b.side <= a.left || a.top + a.side <= b.top ||
         b.top + b.side <= a.top;
}

void expect_inside(const Place& place, int64_t canvas, int64_t grid) {
  EXPECT_GE(place.left, 0);
  EXPECT_GE(place.top, 0);
  EXPECT_LE(place.left + place.side, canvas);
  EXPECT_LE(place.top + place.side, canvas);
  EXPECT_EQ(place.left % grid, 0);
  EXPECT_EQ(place.top % grid, 0);
}

TEST(PlaceApart, InsideOnTheGridAndApart) {
  const std::vector<std::vector<int64_t>> cases{
      {96}, {64, 64}, {48, 48, 48}, {32, 32, 32, 32, 32}, {64, 32, 32}, {48, 48, 48, 48}};
  for (uint64_t i = 0; i < 300; ++i) {
    Philox random(1, "test", i);
    const std::vector<int64_t>& sides = cases[i % cases.size()];
    const std::vector<Place> places = place_apart(sides, 128, 8, random);
    ASSERT_EQ(places.size(), sides.size());
    for (size_t a = 0; a < places.size(); ++a) {
      EXPECT_EQ(places[a].side, sides[a]);
      expect_inside(places[a], 128, 8);
      for (size_t b = 0; b < a; ++b) EXPECT_TRUE(apart(places[a], places[b]));
    }
  }
}

TEST(PlaceApart, MoreThanFitGivesNone) {
  Philox random(1, "test");
  EXPECT_TRUE(place_apart({48, 48, 48, 48, 48}, 128, 8, random).empty());
  EXPECT_TRUE(place_apart({136}, 128, 8, random).empty());
}

TEST(PlaceRelated, TheRelationHoldsAndNoOther) {
  for (uint64_t i = 0; i < 400; ++i) {
    Philox random(2, "test", i);
    const Relation relation = static_cast<Relation>(1 + i % 4);
    const std::vector<Place> places =
        place_related(64, i % 3 == 0 ? 64 : 32, relation, 128, 8, random);
    ASSERT_EQ(places.size(), 2u);
    for (const Place& place : places) expect_inside(place, 128, 8);
    const Place &a = places[0], &b = places[1];
    const int64_t across_x = a.left + a.side / 2 - b.left - b.side / 2;
    const int64_t across_y = a.top + a.side / 2 - b.top - b.side / 2;
    if (relation == Relation::kLeftOf) {
      EXPECT_LE(a.left + a.side, b.left);
    }
    if (relation == Relation::kRightOf) {
      EXPECT_LE(b.left + b.side, a.left);
    }
    if (relation == Relation::kAbove) {
      EXPECT_LE(a.top + a.side, b.top);
    }
    if (relation == Relation::kBelow) {
      EXPECT_LE(b.top + b.side, a.top);
    }
    const bool horizontal = relation == Relation::kLeftOf || relation == Relation::kRightOf;
    EXPECT_LE(std::abs(horizontal ? across_y : across_x), 8);
  }
}

TEST(PlaceRelated, MoreThanFitGivesNone) {
  Philox random(1, "test");
  EXPECT_TRUE(place_related(96, 48, Relation::kAbove, 128, 8, random).empty());
}

TEST(PlaceInRows, OneIsInTheMiddleAndFiveStandTwoAndTwoAndOne) {
  const std::vector<Place> one = place_in_rows({64}, 128, 8);
  ASSERT_EQ(one.size(), 1U);
  EXPECT_EQ(one[0].left, 32);
  EXPECT_EQ(one[0].top, 32);
  EXPECT_EQ(place_in_rows({72}, 128, 8)[0].left, 24);
  EXPECT_EQ(place_in_rows({31}, 128, 1)[0].top, 48);

  const std::vector<Place> five = place_in_rows({32, 32, 32, 32, 32}, 128, 8);
  ASSERT_EQ(five.size(), 5U);
  EXPECT_EQ(five[0].top, five[1].top);
  EXPECT_EQ(five[2].top, five[3].top);
  EXPECT_LE(five[0].top + 32, five[2].top);
  EXPECT_LE(five[2].top + 32, five[4].top);
  for (const Place& place : five) {
    EXPECT_EQ(place.left % 8, 0);
    EXPECT_LE(place.left + place.side, 128);
    EXPECT_LE(place.top + place.side, 128);
  }
  EXPECT_TRUE(place_in_rows({64, 64, 64, 64, 64}, 128, 8).empty());  // cells of 64 x 42 pixels
}

TEST(PlaceInLine, IsTrueToTheRelationAndInTheMiddleAcrossIt) {
  const std::vector<Place> beside = place_in_line(48, 64, Relation::kRightOf, 128, 8);
  ASSERT_EQ(beside.size(), 2U);
  EXPECT_GE(beside[0].left, beside[1].left + 64);
  EXPECT_EQ(beside[0].top, 40);
  EXPECT_EQ(beside[1].top, 32);
  const std::vector<Place> over = place_in_line(32, 32, Relation::kAbove, 128, 8);
  EXPECT_LE(over[0].top + 32, over[1].top);
  EXPECT_EQ(over[0].left, over[1].left);
  EXPECT_TRUE(place_in_line(96, 64, Relation::kLeftOf, 128, 8).empty());
}

}  // namespace
}  // namespace lexel::data
