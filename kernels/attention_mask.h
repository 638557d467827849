#pragma once

#include <cstdint>

namespace lexel::kernels {

/// Which keys a query sees, by their positions alone: a plain value without torch, that CPU and CUDA code share.
struct AttentionMask {
  enum class Kind : int32_t {
    kFull,    // every key
    kCausal,  // keys at or before the query
    kPrefix,  // causal, and the first `prefix` keys are seen by all: a bidirectional prefix, then causal
    kConv,  // causal within a window of the picture: see conv()
  };

  Kind kind = Kind::kFull;
  int64_t prefix = 0;      // kPrefix
  int64_t grid_width = 0;  // kConv: tokens in a row of the picture
  int64_t kernel = 0;      // kConv: side of the window, odd

  static constexpr AttentionMask full() { return {}; }
  static constexpr AttentionMask causal() { return {Kind::kCausal, 0, 0, 0}; }
  static constexpr AttentionMask with_prefix(int64_t keys) { return {Kind::kPrefix, keys, 0, 0}; }

  /// Parti's and DALL-E's conv-shaped mask over raster positions: with r = kernel / 2, a query at p sees p - o for the
  /// offsets o in {0..r} and {grid_width i - r .. grid_width i + r, i = 1..r}, where p - o >= 0. Windows are not cut at
  /// row ends. Kernel 11: 61 offsets.
  ///
  /// source   Yu et al. 2022, arXiv:2206.10789, section 2.2; Ramesh et al. 2021, arXiv:2102.12092, figure 11
  static constexpr AttentionMask conv(int64_t grid_width, int64_t kernel) {
    return {Kind::kConv, 0, grid_width, kernel};
  }

  /// Whether the query at position `query` sees the key at position `key`; both >= 0.
  constexpr bool allows(int64_t query, int64_t key) const {
    switch (kind) {
      case Kind::kFull:
        return true;
      case Kind::kCausal:
        return key <= query;
      case Kind::kPrefix:
        return key <= query || key < prefix;
      case Kind::kConv: {
        const int64_t radius = kernel / 2, offset = query - key;
        if (offset < 0) return false;
        if (offset <= radius) return true;
        const int64_t row = (offset + radius) / grid_width;  // of the window; rows do not overlap
        return row >= 1 && row <= radius && offset - row * grid_width <= radius;
      }
    }
    return false;
  }
};

/// throws   Error(kUsage), named `function`, unless a prefix is >= 0, a kernel is odd, 1..255, and no wider than its
/// grid, and that at most 2^24 wide
void validate(const AttentionMask& mask, const char* function);

}  // namespace lexel::kernels
