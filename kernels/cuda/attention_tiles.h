#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/attention_mask.h"

namespace lexel::kernels::cuda {

enum class TileView : int32_t { kNone, kPart, kAll };

/// An AttentionMask in 32-bit numbers for CUDA kernels, and its questions about tiles: a tile is the queries first_query ..
/// last_query times the keys first_key .. last_key, all inclusive. Positions are below kMaxPositions.
struct TileMask {
  static constexpr int64_t kMaxPositions = int64_t{1} << 30;
  static constexpr int32_t kNever = INT32_MAX;

  bool full = true;
  bool window = false;
  int32_t prefix = 0;  // keys that every query sees
  int32_t grid_width =
      1;  // of the window: offsets 0..radius, and grid_width i - radius .. grid_width i + radius
  int32_t radius = 0;  //
  int32_t rows = 0;    //   for i = 1..rows

  TileMask() = default;

  /// mask  valid for `positions` queries and as many keys
  explicit constexpr TileMask(const AttentionMask& mask, int64_t positions) {
    using Kind = AttentionMask::Kind;
    full = mask.kind == Kind::kFull;
    window = mask.kind == Kind::kConv;
    if (mask.kind == Kind::kPrefix) {
      prefix = static_cast<int32_t>(std::min(mask.prefix, positions));
    }
    if (!window) return;
    const int64_t half = mask.kernel / 2;
    if (mask.kernel == mask.grid_width) {  // the rows of the window touch: one run of offsets
      radius = static_cast<int32_t>(std::min(half * mask.grid_width + half, positions));
    } else {
      radius = static_cast<int32_t>(half);
      rows = static_cast<int32_t>(std::min(half, (positions + half) / mask.grid_width));
      if (rows > 0) grid_width = static_cast<int32_t>(mask.grid_width);
    }
  }

  /// Whether a query sees the key `offset` positions before it, by a rule other than the prefix.
  constexpr bool allows_offset(int32_t offset) const {
    if (full) return true;
    if (offset < 0) return false;
    if (!window || offset <= radius) return true;
    const int32_t row = (offset + radius) / grid_width;
    return row >= 1 && row <= rows && offset - row * grid_width <= radius;
  }

  constexpr TileView view(int32_t first_query, int32_t last_query, int32_t first_key,
                          int32_t last_key) const {
    if (full) return TileView::kAll;
    const int32_t low = first_query - last_key,
                  high = last_query - first_key;  // every offset between occurs
    if (!window) {
      if (low >= 0 || last_key < prefix) return TileView::kAll;
      return high < 0 && first_key >= prefix ? TileView::kNone : TileView::kPart;
    }
    if (high < 0) return TileView::kNone;
    const int32_t seen = next_offset(std::max(low, 0));
    if (seen > high) return TileView::kNone;
    return seen == low && last_of_run(seen) >= high ? TileView::kAll : TileView::kPart;
  }

  /// The keys outside first .. end - 1 are hidden from all the queries first_query .. last_query; likewise for queries.
  struct Range {
    int32_t first, end;
  };
  constexpr Range keys_of(int32_t first_query, int32_t last_query, int32_t keys) const {
    if (full) return {0, keys};
    const int32_t first = window ? std::max(first_query - reach(), 0) : 0;
    return {first, std::min(keys, std::max(last_query + 1, prefix))};
  }
  constexpr Range queries_of(int32_t first_key, int32_t last_key, int32_t queries) const {
    if (full || first_key < prefix) return {0, queries};
    const int32_t end = window ? std::min(last_key + reach() + 1, queries) : queries;
    return {std::min(first_key, end), end};
  }

 private:
  /// The largest offset of the window.
  constexpr int32_t reach() const { return rows * grid_width + radius; }

  /// The smallest offset of the window that is >= offset; kNever beyond the last.
  constexpr int32_t next_offset(int32_t offset) const {
    if (offset <= radius) return offset;
    const int32_t row =
        (offset - radius + grid_width - 1) / grid_width;  // the first that ends at or after it
    return row > rows ? kNever : std::max(offset, row * grid_width - radius);
  }

  /// The last of the consecutive offsets of the window that `offset` is one of.
  constexpr int32_t last_of_run(int32_t offset) const {
    return offset <= radius ? radius : (offset + radius) / grid_width * grid_width + radius;
  }
};

/// The order in which blocks that stay take tiles of queries: the heads in groups whose keys and values fit a cache together,
/// within a group the last tile of every head first, which under a causal mask has the most keys.
struct WorkOrder {
  int64_t heads;           // of all pictures
  int64_t heads_of_group;  // in 1..heads
  int64_t row_tiles;       // of each head

  struct Item {
    int64_t head_index;
    int32_t row_tile;
  };

  constexpr int64_t items() const { return heads * row_tiles; }

  constexpr Item item(int64_t index) const {
    const int64_t first = index / (heads_of_group * row_tiles) * heads_of_group;
    const int64_t within = index % (heads_of_group * row_tiles);
    const int64_t count = std::min(heads_of_group, heads - first);
    return {first + within % count, static_cast<int32_t>(row_tiles - 1 - within / count)};
  }
};

}  // namespace lexel::kernels::cuda
