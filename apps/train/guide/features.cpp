#include "apps/train/guide/features.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>

#include "apps/progress.h"
#include "kernels/check.h"
#include "kernels/philox.h"
#include "tokenizers/io/safetensors.h"

namespace lexel::train {
namespace {

constexpr int64_t kBatch = 32;
constexpr const char* kKey = "lexel.features";

/// Changes with every weight of the eye.
double sum_of_weights(const spae::DualEncoder& guide) {
  spae::DualEncoder view = guide;
  double sum = 0.0;
  for (const auto& [name, tensor] : named_tensors(vqgan::parameters(view.eye)))
    sum += tensor.to(at::kDouble).abs().sum().item<double>();
  return sum;
}

}  // namespace

FeatureBank feature_bank(WordPictures& pictures, const spae::DualEncoder& guide, int64_t views,
                         int64_t photo_views, const std::string& path, bool quiet) {
  const std::string key =
      concat(pictures.fingerprint(), ' ', views, ' ', photo_views, ' ', guide.config.image_size,
             ' ', fnv1a(concat(sum_of_weights(guide))));
  const int64_t width = vqgan::kDepthFeatures;
  FeatureBank bank;
  const std::map<std::string, at::Tensor*> parts{{"drawings", &bank.drawings},
                                                 {"photos", &bank.photos},
                                                 {"held_out_drawings", &bank.held_out_drawings},
                                                 {"held_out_photos", &bank.held_out_photos}};
  if (!path.empty() && std::filesystem::exists(path)) {
    const SafetensorsFile file(path);
    const auto found = file.metadata().find(kKey);
    if (found != file.metadata().end() && found->second == key) {
      for (const auto& [name, tensor] : parts) *tensor = file.tensor(name);
      return bank;
    }
  }
  const int64_t total = pictures.drawings() * views + pictures.photos() * photo_views +
                        pictures.held_out_drawings() + pictures.held_out_photos();
  cli::Progress progress("features", total, "pictures", quiet);
  int64_t done = 0;
  const at::Device device = guide.feature_mean.device();
  const auto features = [&](int64_t count, const std::function<at::Tensor(int64_t)>& picture) {
    at::Tensor rows = at::empty({count, width}, at::kHalf);
    for (int64_t begin = 0; begin < count; begin += kBatch) {
      const int64_t size = std::min(kBatch, count - begin);
      std::vector<at::Tensor> batch;
      for (int64_t i = 0; i < size; ++i) batch.push_back(picture(begin + i));
      rows.narrow(0, begin, size)
          .copy_(spae::guide_features(guide, at::stack(batch).to(device)).to(at::kHalf));
      progress.update(done += size);
    }
    return rows;
  };
  bank.drawings = features(pictures.drawings() * views, [&](int64_t i) {
                    return pictures.drawing(i / views, i % views);
                  }).reshape({pictures.drawings(), views, width});
  bank.photos = features(pictures.photos() * photo_views, [&](int64_t i) {
                  return pictures.photo(i / photo_views, i % photo_views);
                }).reshape({pictures.photos(), photo_views, width});
  bank.held_out_drawings = features(pictures.held_out_drawings(),
                                    [&](int64_t i) { return pictures.held_out_drawing(i); });
  bank.held_out_photos =
      features(pictures.held_out_photos(), [&](int64_t i) { return pictures.held_out_photo(i); });
  if (!path.empty()) {
    std::map<std::string, at::Tensor> tensors;
    for (const auto& [name, tensor] : parts) tensors.emplace(name, *tensor);
    write_safetensors(path, {{kKey, key}}, tensors);
  }
  return bank;
}

}  // namespace lexel::train
