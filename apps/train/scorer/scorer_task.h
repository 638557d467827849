#pragma once

#include <memory>
#include <string>

#include "apps/train/scorer/recipe.h"
#include "apps/train/scorer/scenes.h"
#include "apps/train/task.h"
#include "autoregressive/scorer_model.h"
#include "tokenizers/text_tokenizer.h"

namespace lexel::train {

/// Trains a scorer on composed scenes: matching pictures and captions, against those of the rest of the batch and captions that
/// are wrong in one point. Judged on held-out scenes: how often a caption finds its picture among 16 others.
class ScorerTask : public Task {
 public:
  /// text        rides in the model's file
  /// tokenizer   see ScorerScenes
  /// throws      as ScorerScenes
  ScorerTask(const ScorerRecipe& recipe, std::shared_ptr<const TextTokenizer> text,
             const data::Composer& composer, const ImageTokenizer* tokenizer, at::Device device);

  std::string kind() const override { return "scorer"; }
  std::string recipe() const override;
  const TaskSchedule& schedule() const override { return recipe_.schedule; }
  ParameterList parameters() override { return ar::parameters(model_); }
  TaskLoss loss(int64_t number, double progress) override;
  TaskEvaluation evaluate(int64_t step) override;
  void write_model(const std::string& path, const std::string& provenance) override;
  std::string data_provenance() const override;

 private:
  at::Tensor embed(const std::vector<std::string>& captions) const;  // (C, E)
  at::Tensor embed(const at::Tensor& pictures) const;                // (B, E), in small batches

  ScorerRecipe recipe_;
  std::shared_ptr<const TextTokenizer> text_;
  const data::Composer& composer_;
  const ImageTokenizer* tokenizer_;
  ScorerScenes scenes_;
  ar::ScorerModel model_;
};

}  // namespace lexel::train
