#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/train/guide/features.h"
#include "apps/train/guide/recipe.h"
#include "apps/train/spae/pictures.h"
#include "apps/train/task.h"
#include "kernels/philox.h"
#include "spae/lexical_codebook.h"

namespace lexel::train {

/// A fresh guide: its eye, what the features of the training pictures are like, class names centred as the words are.
///
/// word_mean      (S) the mean of the words' unit vectors
/// class_vectors  (1000, S) unit rows, not centred yet
spae::DualEncoder fresh_guide(const spae::GuideConfig& config, vqgan::PerceptualNet eye,
                              const at::Tensor& word_mean, const at::Tensor& class_vectors,
                              uint64_t seed, at::Device device);

/// Learns a dual encoder: pictures' frozen features to the space of word vectors, by a softmax over all words.
class GuideTask : public Task {
 public:
  /// guide     as fresh_guide() makes it; its feature statistics are filled here
  /// pictures  outlive this
  /// stored    dtype of matrices in the model file (guide_file)
  /// license   of the model file, beside what the code says
  GuideTask(const GuideRecipe& recipe, spae::DualEncoder guide, WordPictures& pictures,
            FeatureBank bank, const spae::LexicalCodebook& words, at::ScalarType stored);

  std::string kind() const override { return "guide"; }
  std::string recipe() const override;
  const TaskSchedule& schedule() const override { return recipe_.schedule; }
  ParameterList parameters() override { return spae::parameters(guide_); }
  TaskLoss loss(int64_t number, double progress) override;
  TaskEvaluation evaluate(int64_t step) override;
  void write_model(const std::string& path, const std::string& provenance) override;
  std::string data_provenance() const override;

  const spae::DualEncoder& guide() const { return guide_; }

 private:
  at::Tensor mask(Philox& random, int64_t rows, int64_t columns, double dropout) const;

  GuideRecipe recipe_;
  spae::DualEncoder guide_;
  WordPictures& pictures_;
  FeatureBank bank_;
  spae::LexicalCodebook words_;
  at::Tensor semantics_;  // (K, S) on the device
  at::ScalarType stored_;
  at::Device device_;
};

}  // namespace lexel::train
