#include "kernels/cuda/attention_tiles.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace lexel::kernels::cuda {
namespace {

struct Case {
  std::string name;
  AttentionMask mask;
  int32_t tokens;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> cases() {
  return {{"full", AttentionMask::full(), 30},
          {"causal", AttentionMask::causal(), 41},
          {"prefix", AttentionMask::with_prefix(9), 40},
          {"prefix longer than the keys", AttentionMask::with_prefix(int64_t{1} << 40), 20},
          {"conv 5 on a grid of 8", AttentionMask::conv(8, 5), 70},
          {"conv 3 on a grid of 13", AttentionMask::conv(13, 3), 70},
          {"conv as wide as its grid", AttentionMask::conv(5, 5), 60},
          {"conv of 1", AttentionMask::conv(6, 1), 30},
          {"conv 1 on a grid of 1", AttentionMask::conv(1, 1), 30},
          {"conv beyond the tokens", AttentionMask::conv(50, 7), 40},
          {"conv on a vast grid", AttentionMask::conv(int64_t{1} << 60, 255), 40}};
}

class AttentionTiles : public testing::TestWithParam<Case> {};

TEST_P(AttentionTiles, MaskIn32BitsIsTheMask) {
  const auto& [name, mask, tokens] = GetParam();
  const TileMask tile_mask(mask, tokens);
  for (int32_t query = 0; query < tokens; ++query) {
    for (int32_t key = 0; key < tokens; ++key) {
      EXPECT_EQ(tile_mask.allows_offset(query - key) || key < tile_mask.prefix,
                mask.allows(query, key))
          << query << " " << key;
    }
  }
}

TEST_P(AttentionTiles, ViewCountsWhatIsSeen) {
  const auto& [name, mask, tokens] = GetParam();
  const TileMask tile_mask(mask, tokens);
  for (const auto& [queries, keys] :
       std::vector<std::pair<int32_t, int32_t>>{{1, 1}, {4, 4}, {3, 7}, {16, 5}, {1, 9}}) {
    for (int32_t query = 0; query + queries <= tokens; ++query) {
      for (int32_t key = 0; key + keys <= tokens; ++key) {
        int32_t seen = 0;
        for (int32_t i = 0; i < queries * keys; ++i) {
          seen += mask.allows(query + i / keys, key + i % keys) ? 1 : 0;
        }
        const TileView wanted = seen == 0                ? TileView::kNone
                                : seen == queries * keys ? TileView::kAll
                                                         : TileView::kPart;
        ASSERT_EQ(tile_mask.view(query, query + queries - 1, key, key + keys - 1), wanted)
            << queries << " queries from " << query << ", " << keys << " keys from " << key;
      }
    }
  }
}

TEST_P(AttentionTiles, RangesHoldAllThatIsSeen) {
  const auto& [name, mask, tokens] = GetParam();
  const TileMask tile_mask(mask, tokens);
  for (int32_t first = 0; first < tokens; ++first) {
    for (int32_t last = first; last < std::min(first + 9, tokens); ++last) {
      const auto keys = tile_mask.keys_of(first, last, tokens);
      const auto queries = tile_mask.queries_of(first, last, tokens);
      for (const auto& range : {keys, queries}) {
        EXPECT_GE(range.first, 0);
        EXPECT_LE(range.end, tokens);
      }
      for (int32_t one = first; one <= last; ++one) {
        for (int32_t other = 0; other < tokens; ++other) {
          if (mask.allows(one, other)) {
            EXPECT_TRUE(keys.first <= other && other < keys.end) << one << " " << other;
          }
          if (mask.allows(other, one)) {
            EXPECT_TRUE(queries.first <= other && other < queries.end) << one << " " << other;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, AttentionTiles, testing::ValuesIn(cases()));

TEST(AttentionTiles, ConvSkipsTilesThatTheWindowDoesNotTouch) {
  // Counted by hand from the offsets: a kernel of 11 on a 32 x 32 grid touches 0.43 of the causal 64 x 64 tiles.
  const TileMask mask(AttentionMask::conv(32, 11), 1024);
  int causal = 0, touched = 0;
  for (int32_t query = 0; query < 1024; query += 64) {
    for (int32_t key = 0; key <= query; key += 64) {
      ++causal;
      touched += mask.view(query, query + 63, key, key + 63) != TileView::kNone ? 1 : 0;
    }
  }
  EXPECT_EQ(causal, 136);
  EXPECT_EQ(touched, 58);
}

TEST(WorkOrder, EachTileOfEachHeadOnceTheLastTilesFirst) {
  for (const WorkOrder& order : {WorkOrder{7, 3, 4}, WorkOrder{6, 3, 1}, WorkOrder{1, 1, 5}}) {
    std::set<std::pair<int64_t, int32_t>> seen;
    for (int64_t index = 0; index < order.items(); ++index) {
      const auto [head, tile] = order.item(index);
      EXPECT_TRUE(0 <= head && head < order.heads && 0 <= tile && tile < order.row_tiles);
      seen.insert({head, tile});
    }
    EXPECT_EQ(seen.size(), static_cast<size_t>(order.items()));
    EXPECT_EQ(order.item(0).row_tile, order.row_tiles - 1);
  }
}

}  // namespace
}  // namespace lexel::kernels::cuda
