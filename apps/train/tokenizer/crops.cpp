#include "apps/train/tokenizer/crops.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "apps/train/schedule.h"
#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::train {

CropSampler::CropSampler(PicturePool& pool, const TrainRecipe& recipe)
    : pool_(pool),
      seed_(uint64_t(recipe.seed)),
      size_(recipe.model.image_size),
      min_side_(recipe.crop_min_side),
      skew_(recipe.crop_skew),
      flip_(recipe.flip) {
  const auto weights = parse_weights(recipe.mixture, "mixture");
  std::vector<double> set_weights(pool.sets.size(), 1.0);
  for (const auto& [name, weight] : weights) {
    const auto set = std::find_if(pool.sets.begin(), pool.sets.end(),
                                  [&name = name](const PictureSet& s) { return s.name == name; });
    std::string known;
    for (const PictureSet& s : pool.sets) known += (known.empty() ? "" : ", ") + s.name;
    check(set != pool.sets.end(), ErrorKind::kUsage, "mixture: no set '", name, "' in the data (",
          known, "); add it to --data, or --set mixture= to weigh all pictures alike");
    set_weights[set - pool.sets.begin()] = weight;
  }
  double sum = 0.0;
  for (const PooledPicture& picture : pool.pictures) {
    sum += set_weights[picture.set];
    cumulative_.push_back(sum);
  }
  check(sum > 0.0, ErrorKind::kUsage, "mixture: all weights are 0");
}

Crop CropSampler::sample(int64_t number) const {
  Philox random(seed_, "crop", uint64_t(number));
  const double draw = random.uniform() * cumulative_.back();
  const int64_t count = int64_t(cumulative_.size());
  int64_t picture =
      std::upper_bound(cumulative_.begin(), cumulative_.end(), draw) - cumulative_.begin();
  picture = std::min(picture, count - 1);
  int64_t tries = 1;
  while (pool_.levels(picture).empty()) {
    check(tries++ < count, ErrorKind::kBadData,
          "no picture can be decoded: ", pool_.pictures[picture].error);
    picture = (picture + 1) % count;
  }
  const std::vector<Pixels>& levels = pool_.levels(picture);

  const double short_side = double(std::min(levels[0].height, levels[0].width));
  const double smallest = std::min(double(min_side_), short_side);
  double skewed = 0.0;
  for (int64_t i = 0; i < skew_; ++i) skewed = std::max(skewed, random.uniform());
  const double side = smallest * std::pow(short_side / smallest, skewed);
  const double left = random.uniform() * (double(levels[0].width) - side);
  const double top = random.uniform() * (double(levels[0].height) - side);
  const bool mirrored = random.uniform() < 0.5;

  // The smallest level that still holds the crop at the model's size or more.
  int64_t level = 0;
  double scale = 1.0;
  while (level + 1 < int64_t(levels.size()) && side * scale / 2 >= double(size_)) {
    ++level;
    scale /= 2;
  }
  // Halving drops an odd last row or column; the box stays inside.
  const auto shifted = [&](double from, double length) {
    return std::clamp(from * scale, 0.0, std::max(0.0, length - side * scale));
  };
  const double fitted =
      std::min({side * scale, double(levels[level].width), double(levels[level].height)});
  return {picture, level,
          Box{shifted(left, double(levels[level].width)),
              shifted(top, double(levels[level].height)), fitted, fitted},
          flip_ && mirrored};
}

void CropSampler::cut(const Crop& crop, float* out) const {
  resample(pool_.pictures[crop.picture].levels[crop.level], crop.box, crop.mirrored, size_, size_,
           out);
}

}  // namespace lexel::train
