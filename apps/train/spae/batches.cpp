#include "apps/train/spae/batches.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <cmath>
#include <utility>

#include "kernels/philox.h"

namespace lexel::train {
namespace {

constexpr int64_t kEndless = int64_t{1} << 40;  // views, where a recipe asks for no end

}  // namespace

WordBatches::WordBatches(const SpaeRecipe& recipe, WordPictures& pictures,
                         const spae::DualEncoder& guide, at::Tensor semantics,
                         const PictureScores* scores)
    : recipe_(recipe),
      pictures_(pictures),
      guide_(guide),
      semantics_(std::move(semantics)),
      scores_(scores) {}

WordBatch WordBatches::batch(int64_t number) {
  Philox random(static_cast<uint64_t>(recipe_.schedule.seed), "word batch",
                static_cast<uint64_t>(number));
  const int64_t size = recipe_.schedule.batch;
  const int64_t photos =
      pictures_.photos() == 0 ? 0 : std::llround(recipe_.photo_share * static_cast<double>(size));
  const auto any = [&random](int64_t count) {
    return static_cast<int64_t>(random.uniform_int(static_cast<uint64_t>(count)));
  };
  const int64_t views = recipe_.views == 0 ? kEndless : recipe_.views;
  std::vector<Item> items;
  std::vector<at::Tensor> images;
  std::vector<spae::KnownWords> captions;
  std::vector<std::string> names;
  for (int64_t b = 0; b < size; ++b) {
    Item item{.photo = b < photos};
    item.number = any(item.photo ? pictures_.photos() : pictures_.drawings());
    item.view = any(views);
    if (item.photo) {
      // View 0 of a photo is its middle; a training sees other cuts alone.
      images.push_back(pictures_.photo(item.number, item.view + 1));
      captions.emplace_back();
      names.push_back(pictures_.name_of_photo(item.number));
    } else {
      images.push_back(pictures_.drawing(item.number, item.view));
      const data::PictureWords& words = pictures_.words_of(item.number);
      captions.push_back({words.names, words.others});
      names.push_back(pictures_.name_of_drawing(item.number));
    }
    items.push_back(item);
  }
  at::Tensor features = features_of(items, at::stack(images));
  return finish(std::move(images), std::move(features), captions, names);
}

at::Tensor WordBatches::features_of(const std::vector<Item>& items, const at::Tensor& images) {
  const at::Device device = semantics_.device();
  if (recipe_.views == 0) return spae::guide_features(guide_, images.to(device));
  // One by one, so that what is kept does not depend on the batch that first asked for it.
  std::vector<at::Tensor> rows;
  for (size_t b = 0; b < items.size(); ++b) {
    const Item& item = items[b];
    at::Tensor& kept = kept_[{item.photo ? -1 - item.number : item.number, item.view}];
    if (!kept.defined()) {
      kept = spae::guide_features(guide_, images.narrow(0, static_cast<int64_t>(b), 1).to(device))
                 .squeeze(0)
                 .to(at::kCPU, at::kHalf);
    }
    rows.push_back(kept);
  }
  return at::stack(rows).to(device, at::kFloat);
}

WordBatch WordBatches::held_out_drawings(int64_t begin, int64_t count) {
  std::vector<at::Tensor> images;
  for (int64_t i = begin; i < begin + count; ++i) images.push_back(pictures_.held_out_drawing(i));
  const at::Tensor stacked = at::stack(images).to(semantics_.device());
  return finish(std::move(images), spae::guide_features(guide_, stacked), {}, {});
}

WordBatch WordBatches::held_out_photos(int64_t begin, int64_t count) {
  std::vector<at::Tensor> images;
  for (int64_t i = begin; i < begin + count; ++i) images.push_back(pictures_.held_out_photo(i));
  const at::Tensor stacked = at::stack(images).to(semantics_.device());
  return finish(std::move(images), spae::guide_features(guide_, stacked), {}, {});
}

WordBatch WordBatches::finish(std::vector<at::Tensor> pictures, at::Tensor features,
                              const std::vector<spae::KnownWords>& captions,
                              const std::vector<std::string>& names) const {
  at::Tensor scores = spae::guide_scores(guide_, features, semantics_);
  for (size_t b = 0; scores_ != nullptr && b < names.size(); ++b) {
    const at::Tensor own = scores_->of(names[b]);
    if (own.defined()) scores.select(0, static_cast<int64_t>(b)).copy_(own);
  }
  WordBatch batch;
  batch.images = at::stack(pictures).to(semantics_.device());
  batch.features = std::move(features);
  batch.targets = spae::word_targets(scores, captions, recipe_.known_words);
  return batch;
}

}  // namespace lexel::train
