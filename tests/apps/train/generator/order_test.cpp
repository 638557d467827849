#include "apps/train/generator/order.h"

#include <gtest/gtest.h>
#include <map>
#include <set>

#include "tests/support/expect_error.h"

namespace lexel::train {
namespace {

TEST(SampleOrder, EveryItemComesOnceARoundInAnotherOrderEachRound) {
  const SampleOrder order({{7, 1.0}}, 3);
  std::map<int64_t, int64_t> counts;
  for (int64_t n = 0; n < 7000; ++n) ++counts[order.at(n).item];
  ASSERT_EQ(counts.size(), 7u);
  for (const auto& [item, count] : counts) EXPECT_EQ(count, 1000) << item;
}

TEST(SampleOrder, LargeSourceIsSeenWholeBeforeAnythingComesAgain) {
  const SampleOrder order({{3000, 1.0}}, 5);
  std::vector<int64_t> a, b;
  for (int64_t n = 0; n < 3000; ++n) {
    a.push_back(order.at(n).item);
    b.push_back(order.at(n + 3000).item);
  }
  EXPECT_EQ(std::set<int64_t>(a.begin(), a.end()).size(), 3000u);
  EXPECT_EQ(std::set<int64_t>(b.begin(), b.end()).size(), 3000u);
  EXPECT_NE(a, b);
}

TEST(SampleOrder, SharesHoldInEveryThousand) {
  const SampleOrder order({{0, 3.0}, {10, 1.0}, {5, 0.0}}, 9);
  for (const int64_t begin : {int64_t{0}, int64_t{5000}}) {
    std::map<size_t, int64_t> counts;
    for (int64_t n = begin; n < begin + 1000; ++n) ++counts[order.at(n).source];
    EXPECT_EQ(counts[0], 750);
    EXPECT_EQ(counts[1], 250);
    EXPECT_EQ(counts.count(2), 0u);
  }
}

TEST(SampleOrder, EndlessSourceNeverRepeats) {
  const SampleOrder order({{0, 1.0}, {4, 1.0}}, 9);
  std::set<int64_t> seen;
  for (int64_t n = 0; n < 4000; ++n) {
    const auto place = order.at(n);
    if (place.source == 0) {
      EXPECT_TRUE(seen.insert(place.item).second) << place.item;
    }
  }
  EXPECT_EQ(seen.size(), 2000u);
  EXPECT_EQ(*seen.rbegin(), 1999);
}

TEST(SampleOrder, DependsOnSeedAndNumberOnly) {
  const SampleOrder one({{50, 1.0}, {0, 1.0}}, 9), same({{50, 1.0}, {0, 1.0}}, 9),
      other({{50, 1.0}, {0, 1.0}}, 10);
  bool differs = false;
  for (int64_t n = 4000; n-- > 0;) same.at(n);  // whatever was asked before
  for (int64_t n = 0; n < 100; ++n) {
    EXPECT_EQ(one.at(n).item, same.at(n).item);
    EXPECT_EQ(one.at(n).source, same.at(n).source);
    differs = differs || one.at(n).item != other.at(n).item;
  }
  EXPECT_TRUE(differs);
}

TEST(SampleOrder, RefusesNoShare) {
  tests::expect_error(ErrorKind::kUsage, "a share above 0", [] { SampleOrder({{5, 0.0}}, 1); });
}

}  // namespace
}  // namespace lexel::train
