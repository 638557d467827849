#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "apps/train/task.h"
#include "apps/train/tokenizer/crops.h"
#include "apps/train/tokenizer/loader.h"
#include "apps/train/tokenizer/picture_pool.h"
#include "apps/train/upsampler/recipe.h"
#include "tokenizers/image_tokenizer.h"
#include "vqgan/perceptual.h"

namespace lexel::train {

/// Super-resolution learnt on top of a frozen tokenizer: crops of scale times the tokenizer's side are averaged down, tokenized
/// and drawn again; from the drawing the upsampler makes the crop.
class UpsamplerTask : public Task {
 public:
  struct Options {
    at::Device device = at::kCPU;
    int64_t workers = 1;
    at::ScalarType stored = at::kBFloat16;
  };

  /// data, tokenizer, net   outlive the task; net may be null where the recipe has no perceptual loss
  UpsamplerTask(const UpsamplerRecipe& recipe, TrainingData& data, const ImageTokenizer& tokenizer,
                const vqgan::PerceptualNet* net, const Options& options);

  std::string kind() const override { return "upsampler"; }
  std::string recipe() const override;
  const TaskSchedule& schedule() const override { return recipe_.schedule; }
  ParameterList parameters() override { return vqgan::parameters(model_); }
  TaskLoss loss(int64_t number, double progress) override;
  /// PSNR of each held-out set, and how much that is above bicubic enlargement of the same drawings; the score is the mean gain
  /// in dB. Samples: original, bicubic, upsampler side by side.
  TaskEvaluation evaluate(int64_t step) override;
  void write_model(const std::string& path, const std::string& provenance) override;
  std::string data_provenance() const override;
  double waited_s() const override { return loader_ ? loader_->waited_s() : 0.0; }

 private:
  at::Tensor drawn(const at::Tensor& originals) const;

  UpsamplerRecipe recipe_;
  TrainingData& data_;
  const ImageTokenizer& tokenizer_;
  const vqgan::PerceptualNet* net_;
  Options options_;
  int64_t side_;  // of the originals, pixels
  CropSampler sampler_;
  vqgan::Upsampler model_;
  std::unique_ptr<Loader> loader_;
};

}  // namespace lexel::train
