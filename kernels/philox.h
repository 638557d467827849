#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <optional>
#include <string_view>

namespace lexel {

/// Philox4x32-10: four random words of a counter and a key, with no state. Constexpr, so that CUDA
/// code uses the same function and gets the same bits.
///
/// source   Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3
constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter,
                                             std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

/// 64-bit FNV-1a of a text: the same on every machine, so streams can be named.
constexpr uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

/// A stream of random numbers named by (seed, purpose, index): the n-th number depends on these and
/// on n only. The purpose says what for ("crop", "shuffle"), the index which one (a picture's
/// number, a step). A stream has 2^34 words; streams never overlap.
class Philox {
 public:
  explicit Philox(uint64_t seed, uint32_t purpose = 0, uint64_t index = 0)
      : counter_{0, purpose, static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32)},
        key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)} {}

  Philox(uint64_t seed, std::string_view purpose, uint64_t index = 0)
      : Philox(seed, static_cast<uint32_t>(fnv1a(purpose)), index) {}

  uint32_t next_u32() {
    if (used_ == 4) {
      block_ = philox4x32(counter_, key_);
      ++counter_[0];
      used_ = 0;
    }
    return block_[used_++];
  }

  uint64_t next_u64() {
    const uint64_t low = next_u32();
    return low | uint64_t{next_u32()} << 32;
  }

  /// Uniform in [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }

  /// Uniform in 0 .. n-1, without bias; n >= 1.
  uint64_t uniform_int(uint64_t n) {
    const uint64_t excess = (0 - n) % n;  // 2^64 mod n: so many values would be too many
    uint64_t value = next_u64();
    while (value < excess) value = next_u64();
    return value % n;
  }

  /// Standard normal (Box-Muller, both values used).
  double normal() {
    if (spare_) {
      const double value = *spare_;
      spare_.reset();
      return value;
    }
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    const double angle_rad = 2.0 * std::numbers::pi * uniform();
    spare_ = radius * std::sin(angle_rad);
    return radius * std::cos(angle_rad);
  }

 private:
  std::array<uint32_t, 4> counter_;  // block, purpose, index (low, high)
  std::array<uint32_t, 2> key_;      // seed (low, high)
  std::array<uint32_t, 4> block_{};
  std::size_t used_ = 4;
  std::optional<double> spare_;
};

}  // namespace lexel
