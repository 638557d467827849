#pragma once

// The numbers of sampling, bit by bit: shared by the reference, the CPU code (which does the same in vectors) and CUDA.
// Every operation here is rounded once, as written, so the files that include it are compiled without contraction of
// a * b + c (-ffp-contract=off, -fmad=false).

#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/philox.h"

namespace lexel::kernels {

/// SamplingOptions as the kernels use them: a plain value.
struct SamplingRule {
  bool guided;
  float guidance;
  float inverse_temperature;  // 0: the largest logit
  int64_t top_k;              // 1..V
  double top_p;
  uint64_t seed;
};

constexpr float kNeverDrawn = -std::numeric_limits<float>::infinity();
constexpr float kNoProbability =
    std::numeric_limits<float>::quiet_NaN();  // where none can be drawn

/// The logit if it is finite.
constexpr float finite_or_never(float logit) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  return logit >= -kLargest && logit <= kLargest ? logit : kNeverDrawn;
}

constexpr float guided_logit(float conditional, float unconditional, float guidance) {
  const float difference = conditional - unconditional;
  const float step = guidance * difference;
  return unconditional + step;
}

// e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln(2) / 2; n kLn2High is exact for |n| < 2^9.
constexpr float kSmallestExponent = -28.0F;  // of x: e^-28 < 2^-40
constexpr float kInverseLn2 = 1.44269504F;
constexpr float kRounder =
    12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer, in the lowest bits
constexpr float kLn2High = 0.693359375F;  // 355 / 512
constexpr float kLn2Low = -2.12194440e-4F;
constexpr float kTaylor[] = {1.0F / 5040, 1.0F / 720, 1.0F / 120, 1.0F / 24,
                             1.0F / 6,    1.0F / 2,   1.0F,       1.0F};  // error < 2^-27

/// floor(2^40 e^x), x = difference * inverse_temperature, difference <= 0 or -infinity.
constexpr uint64_t token_weight(float difference, float inverse_temperature) {
  float x = difference * inverse_temperature;
  if (!(x > kSmallestExponent)) x = kSmallestExponent;
  const float shifted = x * kInverseLn2 + kRounder;
  const float n = shifted - kRounder;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float power = kTaylor[0];
  for (int i = 1; i < 8; ++i) power = power * r + kTaylor[i];
  const uint32_t bits = std::bit_cast<uint32_t>(power);
  const uint32_t rounded = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRounder);
  const uint64_t mantissa = (bits & 0x7FFFFFU) | 0x800000U;
  // power = mantissa 2^(exponent - 150), in 0.7..1.42; the shift lies in 22..63.
  return (mantissa << 39) >> (149U - (bits >> 23) - rounded);
}

/// The sum of weights that top_p asks for, at least 1; total >= 1.
constexpr uint64_t top_p_threshold(uint64_t total, double top_p) {
  const double product = top_p * static_cast<double>(total);
  auto threshold = static_cast<uint64_t>(product);
  if (static_cast<double>(threshold) < product) ++threshold;
  return threshold < 1 ? 1 : threshold > total ? total : threshold;
}

/// floor(a b / 2^64).
constexpr uint64_t multiply_high(uint64_t a, uint64_t b) {
  const uint64_t a_low = a & 0xFFFFFFFFU, a_high = a >> 32, b_low = b & 0xFFFFFFFFU,
                 b_high = b >> 32;
  const uint64_t middle = a_high * b_low + (a_low * b_low >> 32);
  const uint64_t middle_low = (middle & 0xFFFFFFFFU) + a_low * b_high;
  return a_high * b_high + (middle >> 32) + (middle_low >> 32);
}

/// The draw of a position among weights that sum to `total`: 0 .. total - 1.
constexpr uint64_t draw_below(uint64_t total, uint64_t seed, int64_t picture, int64_t position) {
  constexpr auto kPurpose = static_cast<uint32_t>(fnv1a("sample"));
  const auto index = static_cast<uint64_t>(picture);
  const auto words = philox4x32({static_cast<uint32_t>(position), kPurpose,
                                 static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32)},
                                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return multiply_high(words[0] | uint64_t{words[1]} << 32, total);
}

/// ln(weight / total), 1 <= weight <= total: float64 inside, rounded once more.
constexpr float log_probability(uint64_t weight, uint64_t total) {
  const double quotient = static_cast<double>(weight) / static_cast<double>(total);
  uint64_t bits = std::bit_cast<uint64_t>(quotient);
  // quotient = 2^exponent m, m in [sqrt(1/2), sqrt(2)): kRootOfHalf holds the bits of sqrt(1/2).
  constexpr uint64_t kRootOfHalf = 0x3FE6A09E667F3BCD;
  const auto exponent = static_cast<int64_t>(bits - kRootOfHalf) >> 52;
  bits -= static_cast<uint64_t>(exponent) << 52;
  const double m = std::bit_cast<double>(bits);
  // ln m = 2 artanh s = 2 (s + s^3 / 3 + s^5 / 5 + ...), s = (m - 1) / (m + 1), |s| < 0.172: error < 1e-13
  const double s = (m - 1.0) / (m + 1.0), square = s * s;
  double sum = 0.0;
  for (int i = 15; i >= 1; i -= 2) sum = sum * square + 1.0 / i;
  constexpr double kLn2 = 0.69314718055994530942;
  return static_cast<float>(static_cast<double>(exponent) * kLn2 + 2.0 * s * sum);
}

}  // namespace lexel::kernels
