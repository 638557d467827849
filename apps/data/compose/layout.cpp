#include "apps/data/compose/layout.h"

#include <algorithm>

namespace lexel::data {
namespace {

constexpr int kTries = 40;       // of all places together
constexpr int64_t kStagger = 8;  // pixels

// A multiple of `grid` in [low, high]; low and high are multiples of it.
int64_t on_grid(int64_t low, int64_t high, int64_t grid, Philox& random) {
  const uint64_t choices = static_cast<uint64_t>((high - low) / grid + 1);
  return low + grid * static_cast<int64_t>(random.uniform_int(choices));
}

bool overlap(const Place& a, const Place& b) {
  return a.left < b.left + b.side && b.left < a.left + a.side && a.top < b.top + b.side &&
         b.top < a.top + a.side;
}

// Random places, each apart from those before; empty when one did not find room.
std::vector<Place> try_apart(const std::vector<int64_t>& sides, int64_t end, int64_t grid,
                             Philox& random) {
  std::vector<Place> places;
  for (const int64_t side : sides) {
    if (side > end) return {};
    const Place place{on_grid(0, end - side, grid, random), on_grid(0, end - side, grid, random),
                      side};
    const auto hits = [&](const Place& other) { return overlap(place, other); };
    if (std::ranges::any_of(places, hits)) return {};
    places.push_back(place);
  }
  return places;
}

// Cells of a chessboard, in random order: what is left when the things nearly fill the canvas.
std::vector<Place> on_chessboard(const std::vector<int64_t>& sides, int64_t end, Philox& random) {
  const int64_t cell = std::ranges::max(sides), columns = end / cell;
  if (columns * columns < static_cast<int64_t>(sides.size())) return {};
  std::vector<int64_t> cells(static_cast<size_t>(columns * columns));
  for (size_t i = 0; i < cells.size(); ++i) {  // Fisher and Yates, inside out
    const size_t j = random.uniform_int(i + 1);
    cells[i] = cells[j];
    cells[j] = static_cast<int64_t>(i);
  }
  std::vector<Place> places;
  for (size_t i = 0; i < sides.size(); ++i)
    places.push_back({cells[i] % columns * cell, cells[i] / columns * cell, sides[i]});
  return places;
}

}  // namespace

std::vector<Place> place_in_rows(const std::vector<int64_t>& sides, int64_t canvas, int64_t grid) {
  const auto count = static_cast<int64_t>(sides.size());
  const int64_t rows = count <= 2 ? 1 : (count + 7) / 4;  // 2 + 1, 2 + 2, 2 + 2 + 1
  std::vector<Place> places;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t done = static_cast<int64_t>(places.size());
    const int64_t columns = (count - done + rows - row - 1) / (rows - row);
    const int64_t width = canvas / columns, height = canvas / rows;
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t side = sides[static_cast<size_t>(done + column)];
      if (side > width / grid * grid || side > height / grid * grid) return {};
      places.push_back({(column * width + (width - side) / 2) / grid * grid,
                        (row * height + (height - side) / 2) / grid * grid, side});
    }
  }
  return places;
}

std::vector<Place> place_apart(const std::vector<int64_t>& sides, int64_t canvas, int64_t grid,
                               Philox& random) {
  const int64_t end = canvas / grid * grid;
  for (int i = 0; i < kTries; ++i) {
    std::vector<Place> places = try_apart(sides, end, grid, random);
    if (!places.empty()) return places;
  }
  return on_chessboard(sides, end, random);
}

std::vector<Place> place_in_line(int64_t first, int64_t second, Relation relation, int64_t canvas,
                                 int64_t grid) {
  const int64_t end = canvas / grid * grid;
  if (first + second > end) return {};
  const bool first_is_before = relation == Relation::kLeftOf || relation == Relation::kAbove;
  const int64_t before = first_is_before ? first : second, after = first + second - before;
  const int64_t gap = (end - before - after) / 3 / grid * grid;
  const int64_t start = (end - before - after - gap) / 2 / grid * grid;
  const int64_t next = start + before + gap;
  const auto middle = [&](int64_t side) { return (end - side) / 2 / grid * grid; };
  const bool horizontal = relation == Relation::kLeftOf || relation == Relation::kRightOf;
  const Place one =
      horizontal ? Place{start, middle(before), before} : Place{middle(before), start, before};
  const Place two =
      horizontal ? Place{next, middle(after), after} : Place{middle(after), next, after};
  return first_is_before ? std::vector<Place>{one, two} : std::vector<Place>{two, one};
}

std::vector<Place> place_related(int64_t first, int64_t second, Relation relation, int64_t canvas,
                                 int64_t grid, Philox& random) {
  const int64_t end = canvas / grid * grid;
  if (first + second > end) return {};
  const bool first_is_before = relation == Relation::kLeftOf || relation == Relation::kAbove;
  const int64_t before = first_is_before ? first : second, after = first + second - before;
  // Along the axis: the one before, a gap, the one after.
  const int64_t gap = on_grid(0, end - before - after, grid, random);
  const int64_t start = on_grid(0, end - before - after - gap, grid, random);
  const int64_t next = start + before + gap;
  // Across it: middles nearly in line. The larger one goes first, so that the smaller one is inside too.
  const int64_t larger = std::max(before, after), smaller = std::min(before, after);
  const int64_t edge = on_grid(0, end - larger, grid, random);
  const int64_t in_line = edge + larger / 2 - smaller / 2;
  const auto up = [&](int64_t x) { return (x + grid - 1) / grid * grid; };
  const int64_t low = up(std::max<int64_t>(0, in_line - kStagger));
  const int64_t high = std::min(end - smaller, in_line + kStagger) / grid * grid;
  if (low > high) return {};
  const int64_t shifted = on_grid(low, high, grid, random);
  const int64_t across = before == larger ? edge : shifted;
  const int64_t other = before == larger ? shifted : edge;

  const bool horizontal = relation == Relation::kLeftOf || relation == Relation::kRightOf;
  const Place one = horizontal ? Place{start, across, before} : Place{across, start, before};
  const Place two = horizontal ? Place{next, other, after} : Place{other, next, after};
  return first_is_before ? std::vector<Place>{one, two} : std::vector<Place>{two, one};
}

}  // namespace lexel::data
