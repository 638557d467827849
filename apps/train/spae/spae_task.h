#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/train/spae/batches.h"
#include "apps/train/spae/pictures.h"
#include "apps/train/spae/recipe.h"
#include "apps/train/spae/semantic_start.h"
#include "apps/train/task.h"
#include "spae/model.h"
#include "spae/semantic_guide.h"
#include "vqgan/discriminator.h"

namespace lexel::train {

/// What a training of SPAE needs beside its recipe. All but the codebook outlive the task.
struct SpaeData {
  WordPictures* pictures = nullptr;
  const spae::DualEncoder* guide = nullptr;
  spae::LexicalCodebook words;                       // with semantics
  const PictureScores* scores = nullptr;             // a user's, may be null
  const vqgan::PerceptualNet* perceptual = nullptr;  // may be null
  std::string guide_fingerprint;                     // for the provenance
};

/// Learns SPAE: pictures to words in layers and back.
class SpaeTask : public Task {
 public:
  /// recipe    its num_words is the codebook's
  /// stored    dtype of matrices in the model file
  SpaeTask(const SpaeRecipe& recipe, SpaeData data, at::ScalarType stored, at::Device device);

  std::string kind() const override { return "spae"; }
  std::string recipe() const override;
  const TaskSchedule& schedule() const override { return recipe_.schedule; }
  ParameterList parameters() override;
  TaskLoss loss(int64_t number, double progress) override;
  TaskEvaluation evaluate(int64_t step) override;
  void write_model(const std::string& path, const std::string& provenance) override;
  std::string data_provenance() const override;
  double waited_s() const override { return waited_s_; }

  const spae::Model& model() const { return model_; }

 private:
  std::vector<int64_t> layers_of_batch(int64_t number) const;
  void add_discriminator_loss(const spae::TrainSetup& setup, const at::Tensor& images,
                              const at::Tensor& pictures, TaskLoss& result);
  void measure_words(TaskEvaluation& result);
  void measure_pictures(TaskEvaluation& result);

  SpaeRecipe recipe_;
  SpaeData data_;
  at::ScalarType stored_;
  at::Device device_;
  spae::Model model_;
  vqgan::Discriminator discriminator_;  // where the adversarial loss has a weight
  at::Tensor mean_real_,
      mean_fake_;  // (1) running means of its scores: in checkpoints, not trained
  WordBatches batches_;
  double waited_s_ = 0.0;
};

}  // namespace lexel::train
