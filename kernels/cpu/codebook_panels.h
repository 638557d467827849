#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace lexel::kernels::cpu {

/// The codes that may be chosen, in their order; a place is a code's number among them.
struct CodesInPlay {
  const float* values;  // (K, D)
  int64_t width;
  bool l2;
  const int32_t* ids;  // (count), rising; null: all K
  int64_t count;

  int64_t id(int64_t place) const { return ids == nullptr ? place : ids[place]; }
  const float* code(int64_t place) const { return values + id(place) * width; }
};

/// The best codes of each row so far, best first: score is the sum that codes are compared by, -infinity where there is none.
struct Winners {
  int64_t top_k;
  int64_t* ids;  // (N, top_k)
  float* score;  // (N, top_k)

  /// Puts a code in, if it is better than the last. Codes must come in the order of their ids: a tie keeps the first.
  void insert(int64_t row, int64_t id, float value) const {
    int64_t* const row_ids = ids + row * top_k;
    float* const row_score = score + row * top_k;
    int64_t place = top_k;
    while (place > 0 && value > row_score[place - 1]) --place;
    if (place == top_k) return;
    for (int64_t i = top_k - 1; i > place; --i) {
      row_ids[i] = row_ids[i - 1];
      row_score[i] = row_score[i - 1];
    }
    row_ids[place] = id;
    row_score[place] = value;
  }
};

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

}  // namespace lexel::kernels::cpu
