#include "spae/pyramid.h"

#include <algorithm>

#include "kernels/check.h"

namespace lexel::spae {

int64_t Pyramid::tokens(int64_t count) const {
  int64_t sum = 0;
  for (int64_t layer = 0; layer < count; ++layer) {
    const int64_t side = sides[static_cast<size_t>(layer)];
    sum += side * side;
  }
  return sum;
}

int64_t Pyramid::layers_of(int64_t count) const {
  check(count > 0, ErrorKind::kBadData, "expected the tokens of at least one layer, got none");
  for (int64_t layer = 1; layer <= layers(); ++layer) {
    if (count == tokens(layer)) return layer;
    check(count > tokens(layer), ErrorKind::kBadData, "the tokens end in the middle of layer ",
          layer, ": expected ", tokens(layer), " to its end, got ", count);
  }
  fail(ErrorKind::kBadData, "expected at most ", tokens(), " tokens (", layers(), " layers), got ",
       count);
}

std::vector<int64_t> Pyramid::visits(int64_t count) const {
  std::vector<int64_t> result(static_cast<size_t>(grid() * grid()), 0);
  for (size_t layer = 0; layer < static_cast<size_t>(count); ++layer) {
    for (const int64_t position : positions[layer]) ++result[static_cast<size_t>(position)];
  }
  return result;
}

bool Pyramid::disjoint(int64_t count) const {
  const std::vector<int64_t> times = visits(count);
  return std::all_of(times.begin(), times.end(), [](int64_t n) { return n <= 1; });
}

std::vector<int64_t> Pyramid::nearest_visited(int64_t count) const {
  const std::vector<int64_t> times = visits(count);
  std::vector<int64_t> result(times.size());
  for (int64_t position = 0; position < grid() * grid(); ++position) {
    int64_t best = -1, least = 0;
    for (int64_t other = 0; other < grid() * grid(); ++other) {
      if (times[static_cast<size_t>(other)] == 0) continue;
      const int64_t down = other / grid() - position / grid(),
                    right = other % grid() - position % grid();
      const int64_t distance = down * down + right * right;
      if (best >= 0 && distance >= least) continue;
      best = other;
      least = distance;
    }
    result[static_cast<size_t>(position)] = best;
  }
  return result;
}

Pyramid make_pyramid(const std::vector<int64_t>& sides) {
  const char* const name = "make_pyramid";
  check_arg(!sides.empty() && sides.size() <= 16, name, "expected 1 to 16 sides, got ",
            sides.size());
  const int64_t grid = sides.back();
  for (size_t layer = 0; layer < sides.size(); ++layer) {
    const int64_t side = sides[layer];
    check_arg(side >= 1 && side <= 256, name, "expected sides of 1 to 256, got ", side);
    check_arg(grid % side == 0, name, "expected sides that divide the last, ", grid, ", got ",
              side);
    check_arg(layer == 0 || side >= sides[layer - 1], name,
              "expected sides that rise or stay, got ", side, " after ", sides[layer - 1]);
  }
  Pyramid pyramid{sides, {}};
  for (const int64_t side : sides) {
    // The paper counts from 1: h i - ceil(h / 2) + 1 for i = 1 .. s.
    const int64_t step = grid / side, back = (step + 1) / 2;
    std::vector<int64_t>& positions = pyramid.positions.emplace_back();
    for (int64_t i = 1; i <= side; ++i) {
      for (int64_t j = 1; j <= side; ++j) {
        positions.push_back((step * i - back) * grid + step * j - back);
      }
    }
  }
  return pyramid;
}

}  // namespace lexel::spae
