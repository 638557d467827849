#include "apps/train/detector/detector_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/smooth_l1_loss.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/check.h"

namespace lexel::train {
namespace {

constexpr double kHeatSigma = 0.6;     // cells
constexpr double kCentreWeight = 1.0;  // of the loss's parts
constexpr double kColourWeight = 0.5, kSideWeight = 0.5, kBackgroundWeight = 0.5;

std::map<std::string, int64_t> numbered(const std::string& names) {
  std::map<std::string, int64_t> numbers;
  for (const std::string& name : eval::split_names(names))
    numbers.emplace(name, static_cast<int64_t>(numbers.size()));
  return numbers;
}

int64_t number_of(const std::map<std::string, int64_t>& numbers, const std::string& name,
                  const char* what) {
  const auto found = numbers.find(name);
  check(found != numbers.end(), ErrorKind::kBadData, "detector: no ", what, " called \"", name,
        "\"");
  return found->second;
}

/// Sums of weights of nothing would divide by 0.
at::Tensor weighted_mean(const at::Tensor& values, const at::Tensor& weight) {
  return (values * weight).sum() / weight.sum().clamp_min(1.0);
}

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& labels) {
  return -at::log_softmax(logits, 1).gather(1, labels.unsqueeze(1)).squeeze(1);  // (B, g, g)
}

/// The cells of one picture's things.
class Cells {
 public:
  Cells(DetectorTargets& targets, int64_t picture, int64_t grid)
      : targets_(targets), picture_(picture), grid_(grid), owner_(grid * grid, -1) {}

  void add_middle(double x, double y) {
    auto heat = targets_.heat.accessor<float, 3>()[picture_];
    const auto column = cell(x), row = cell(y);
    for (int64_t r = std::max<int64_t>(0, row - 2); r <= std::min(grid_ - 1, row + 2); ++r) {
      for (int64_t c = std::max<int64_t>(0, column - 2); c <= std::min(grid_ - 1, column + 2);
           ++c) {
        const double dx = static_cast<double>(c) + 0.5 - x / eval::kDetectorCell;
        const double dy = static_cast<double>(r) + 0.5 - y / eval::kDetectorCell;
        const double near = std::exp(-(dx * dx + dy * dy) / (2 * kHeatSigma * kHeatSigma));
        // Only a middle itself is 1.
        heat[r][c] = std::max(heat[r][c], static_cast<float>(std::min(near, 0.99)));
      }
    }
    heat[row][column] = 1.0F;
  }

  /// The inner half of a box; its middle cell at least.
  void own(const data::PixelBox& box, int64_t thing) {
    const auto inner = [](int64_t start, int64_t length) {
      const double quarter = static_cast<double>(length) / 4;
      return std::pair{static_cast<double>(start) + quarter,
                       static_cast<double>(start + length) - quarter};
    };
    const auto [left, right] = inner(box.left, box.width);
    const auto [top, bottom] = inner(box.top, box.height);
    const int64_t middle_row = cell((top + bottom) / 2), middle_column = cell((left + right) / 2);
    for (int64_t r = 0; r < grid_; ++r) {
      for (int64_t c = 0; c < grid_; ++c) {
        const double x = (static_cast<double>(c) + 0.5) * eval::kDetectorCell;
        const double y = (static_cast<double>(r) + 0.5) * eval::kDetectorCell;
        const bool inside = x >= left && x <= right && y >= top && y <= bottom;
        if (inside || (r == middle_row && c == middle_column))
          owner_[static_cast<size_t>(r * grid_ + c)] = thing;
      }
    }
  }

  /// Visits the cells of `thing` as (row, column, share): the shares sum to 1.
  template <class Visit>
  void for_each(int64_t thing, Visit visit) const {
    const auto count = std::ranges::count(owner_, thing);
    for (int64_t i = 0; i < grid_ * grid_; ++i) {
      if (owner_[static_cast<size_t>(i)] == thing)
        visit(i / grid_, i % grid_, 1.0F / static_cast<float>(count));
    }
  }

 private:
  int64_t cell(double pixels) const {
    return std::clamp<int64_t>(static_cast<int64_t>(pixels / eval::kDetectorCell), 0, grid_ - 1);
  }

  DetectorTargets& targets_;
  int64_t picture_, grid_;
  std::vector<int64_t> owner_;  // by cell: the thing on top, or -1
};

}  // namespace

DetectorTargets targets_of(const std::vector<data::Truth>& truths,
                           const eval::DetectorConfig& config) {
  const auto count = static_cast<int64_t>(truths.size());
  const int64_t grid = config.image_size / eval::kDetectorCell;
  const auto things = numbered(config.things), colours = numbered(config.colours),
             backgrounds = numbered(config.backgrounds);
  const std::vector<int64_t> shape{count, grid, grid};
  DetectorTargets targets{at::zeros(shape, at::kFloat),
                          at::zeros(shape, at::kLong),
                          at::zeros(shape, at::kLong),
                          at::zeros(shape, at::kFloat),
                          at::zeros(shape, at::kFloat),
                          at::zeros(shape, at::kFloat),
                          at::zeros({count, static_cast<int64_t>(backgrounds.size())}, at::kFloat)};
  for (int64_t b = 0; b < count; ++b) {
    const data::Truth& truth = truths[static_cast<size_t>(b)];
    Cells cells(targets, b, grid);
    for (size_t i = 0; i < truth.things.size(); ++i) {
      const data::PixelBox& box = truth.things[i].box;
      cells.add_middle(static_cast<double>(2 * box.left + box.width) / 2,
                       static_cast<double>(2 * box.top + box.height) / 2);
      cells.own(box, static_cast<int64_t>(i));
    }
    for (size_t i = 0; i < truth.things.size(); ++i) {
      const data::PlacedThing& thing = truth.things[i];
      const int64_t name = number_of(things, thing.name, "thing");
      const bool tinted = !thing.colour.empty();
      const int64_t colour = tinted ? number_of(colours, thing.colour, "colour") : 0;
      const auto side = static_cast<float>(
          std::log2(static_cast<double>(std::max(thing.box.width, thing.box.height)) / 32));
      cells.for_each(static_cast<int64_t>(i), [&](int64_t row, int64_t column, float share) {
        targets.things.accessor<int64_t, 3>()[b][row][column] = name;
        targets.colours.accessor<int64_t, 3>()[b][row][column] = colour;
        targets.side.accessor<float, 3>()[b][row][column] = side;
        targets.weight.accessor<float, 3>()[b][row][column] = share;
        if (tinted) targets.tinted.accessor<float, 3>()[b][row][column] = share;
      });
    }
    auto background = targets.background.accessor<float, 2>()[b];
    const bool photo = truth.background.kind == data::BackgroundKind::kPhoto;
    background[number_of(backgrounds, photo ? "photo" : truth.background.colour, "background")] =
        1.0F;
  }
  return targets;
}

at::Tensor DetectorLoss::total() const {
  return kCentreWeight * centre + thing + kColourWeight * colour + kSideWeight * side +
         kBackgroundWeight * background;
}

DetectorLoss detector_loss(const eval::DetectorMaps& maps, const DetectorTargets& targets) {
  DetectorLoss loss;
  const at::Tensor chance = maps.centre.sigmoid();
  const at::Tensor is_middle = targets.heat.eq(1.0F).to(at::kFloat);
  const at::Tensor hit = (1 - chance).square() * at::log_sigmoid(maps.centre) * is_middle;
  const at::Tensor miss =
      (1 - targets.heat).pow(4) * chance.square() * at::log_sigmoid(-maps.centre) * (1 - is_middle);
  loss.centre = -(hit.sum() + miss.sum()) / is_middle.sum().clamp_min(1.0);
  loss.thing = weighted_mean(cross_entropy(maps.things, targets.things), targets.weight);
  loss.colour = weighted_mean(cross_entropy(maps.colours, targets.colours), targets.tinted);
  loss.side = weighted_mean(at::smooth_l1_loss(maps.side, targets.side, at::Reduction::None, 0.25),
                            targets.weight);
  loss.background = at::binary_cross_entropy_with_logits(maps.background, targets.background, {},
                                                         {}, at::Reduction::Sum) /
                    static_cast<double>(maps.background.size(0));
  return loss;
}

}  // namespace lexel::train
