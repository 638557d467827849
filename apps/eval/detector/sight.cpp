#include "apps/eval/detector/sight.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <algorithm>
#include <cmath>
#include <iterator>
#include <tuple>

namespace lexel::eval {
namespace {

constexpr int64_t kPicturesAtOnce = 32;
constexpr double kAppliesFrom = 0.5;  // chance from which the name of a background applies

/// The middle of a peak in cells: the mean of 3 x 3, weighted by the chance of a middle.
std::pair<double, double> middle_of(const at::TensorAccessor<float, 2>& centre, int64_t row,
                                    int64_t column) {
  double sum = 0, x = 0, y = 0;
  for (int64_t r = std::max<int64_t>(0, row - 1); r <= std::min(row + 1, centre.size(0) - 1); ++r) {
    for (int64_t c = std::max<int64_t>(0, column - 1);
         c <= std::min(column + 1, centre.size(1) - 1); ++c) {
      const double weight = double{centre[r][c]};
      sum += weight;
      x += weight * (static_cast<double>(c) + 0.5);
      y += weight * (static_cast<double>(r) + 0.5);
    }
  }
  return {x / sum, y / sum};
}

bool same_place(const FoundThing& a, const FoundThing& b) {
  const double reach = 0.5 * std::min(a.side, b.side);
  return std::abs(a.x - b.x) < reach && std::abs(a.y - b.y) < reach;
}

}  // namespace

std::vector<Sight> read_maps(const DetectorMaps& maps, const DetectorConfig& config,
                             double threshold) {
  const at::NoGradGuard no_gradient;
  const std::vector<std::string> names = split_names(config.things);
  const std::vector<std::string> colours = split_names(config.colours);
  const std::vector<std::string> backgrounds = split_names(config.backgrounds);
  const at::Tensor centre = maps.centre.sigmoid().to(at::kCPU).contiguous();  // (B, g, g)
  const at::Tensor around =
      at::max_pool2d(centre.unsqueeze(1), {3, 3}, {1, 1}, {1, 1}).squeeze(1).contiguous();
  const auto [chances, things] = at::softmax(maps.things, 1).max(1);  // (B, g, g)
  const at::Tensor chance = chances.to(at::kCPU).contiguous();
  const at::Tensor thing = things.to(at::kCPU).contiguous();
  const at::Tensor colour = maps.colours.argmax(1).to(at::kCPU).contiguous();
  const at::Tensor side = maps.side.to(at::kCPU).contiguous();
  const at::Tensor background = maps.background.sigmoid().to(at::kCPU).contiguous();

  std::vector<Sight> sights(static_cast<size_t>(centre.size(0)));
  for (int64_t b = 0; b < centre.size(0); ++b) {
    const at::Tensor picture = centre[b];
    const auto at_centre = picture.accessor<float, 2>();
    const auto at_around = around.accessor<float, 3>();
    std::vector<FoundThing> peaks;
    for (int64_t row = 0; row < picture.size(0); ++row) {
      for (int64_t column = 0; column < picture.size(1); ++column) {
        const double score =
            double{at_centre[row][column]} * chance.accessor<float, 3>()[b][row][column];
        if (score < threshold || at_centre[row][column] < at_around[b][row][column]) continue;
        const auto [x, y] = middle_of(at_centre, row, column);
        const auto index = [&](const at::Tensor& map) {
          return static_cast<size_t>(map.accessor<int64_t, 3>()[b][row][column]);
        };
        const double log_side = double{side.accessor<float, 3>()[b][row][column]};
        peaks.push_back({names[index(thing)], score, colours[index(colour)], x * kDetectorCell,
                         y * kDetectorCell, 32 * std::exp2(std::clamp(log_side, -4.0, 4.0))});
      }
    }
    // Equal scores stand in the order of their cells.
    std::ranges::stable_sort(peaks, std::ranges::greater{}, &FoundThing::score);
    Sight& sight = sights[static_cast<size_t>(b)];
    for (FoundThing& peak : peaks) {
      const auto hides = [&](const FoundThing& better) { return same_place(better, peak); };
      if (std::ranges::none_of(sight.things, hides)) sight.things.push_back(std::move(peak));
    }
    for (size_t k = 0; k < backgrounds.size(); ++k) {
      if (background.accessor<float, 2>()[b][static_cast<int64_t>(k)] >= kAppliesFrom)
        sight.backgrounds.push_back(backgrounds[k]);
    }
  }
  return sights;
}

std::vector<Sight> look(const Detector& detector, const at::Tensor& images) {
  const at::NoGradGuard no_gradient;
  std::vector<Sight> sights;
  for (int64_t first = 0; first < images.size(0); first += kPicturesAtOnce) {
    const int64_t count = std::min(kPicturesAtOnce, images.size(0) - first);
    std::vector<Sight> some = read_maps(detect(detector, images.narrow(0, first, count)),
                                        detector.config, detector.config.threshold);
    std::ranges::move(some, std::back_inserter(sights));
  }
  return sights;
}

}  // namespace lexel::eval
