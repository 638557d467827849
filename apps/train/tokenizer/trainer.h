#pragma once

#include <ATen/core/Tensor.h>
#include <csignal>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/train/batch_share.h"
#include "apps/train/budget.h"
#include "apps/train/options.h"
#include "apps/train/run_log.h"
#include "apps/train/tokenizer/crops.h"
#include "apps/train/tokenizer/device_crops.h"
#include "apps/train/tokenizer/evaluation.h"
#include "apps/train/tokenizer/loader.h"
#include "apps/train/tokenizer/picture_pool.h"
#include "apps/train/tokenizer/training_state.h"
#include "autoregressive/parallel/mesh.h"
#include "vqgan/perceptual.h"
#include "vqgan/train_step.h"

namespace lexel::train {

/// One training run in its folder, from start or checkpoint to the model file.
class Trainer {
 public:
  /// Reads the data, makes or loads the state, computes floors and start.
  /// mesh   the ranks that train together, as check_tokenizer_mesh takes it; outlives the run
  Trainer(const cli::TrainOptions& options, const TrainRecipe& recipe, parallel::Mesh& mesh);

  /// Trains until the budget is used or `stop` is set; then writes checkpoint, report and, if the budget is
  /// used, the model file.
  /// throws   Error(kBadData) on a loss or gradient that is not finite, or on an explosion
  void run(const volatile std::sig_atomic_t& stop);

 private:
  void start_batches();
  at::Tensor next_batch();  // (B, 3, S, S) on the device
  double waited_s() const;  // for batches, in all
  void step();
  void train_discriminator(const at::Tensor& images, const at::Tensor& pictures, double rate);
  void care_for_codes(const std::vector<at::Tensor>& latents, const std::vector<at::Tensor>& ids);
  void add_terms(const vqgan::LossTerms& terms, std::map<std::string, double>& sums) const;
  void log_start();
  void log_step(double rate, double gradient_norm);
  void evaluate_and_report();
  void save();
  void write_model(const std::string& name);
  void keep_if_best(const Evaluation& result);
  double elapsed_s() const { return budget_->elapsed_s(); }
  std::string data_provenance() const;  // JSON
  std::string path(const std::string& name) const { return options_.output + "/" + name; }

  bool leads() const { return mesh_.world().rank == 0; }  // writes what is written once
  void follow_clock(bool stop);

  cli::TrainOptions options_;
  parallel::Mesh& mesh_;
  const BatchShare share_;
  bool stop_ = false;  // some rank was asked to
  at::Device device_;
  at::ScalarType compute_;
  TrainingData data_;
  TrainingState state_;
  bool other_length_ = false;  // a resumed run whose steps or minutes are others now
  std::map<std::string, Curve> rates_, loss_factors_;
  Curve quantized_share_;
  std::unique_ptr<CropSampler> sampler_;
  std::unique_ptr<vqgan::PerceptualNet> perceptual_;
  std::unique_ptr<RunLog> log_;
  std::unique_ptr<Loader> loader_;             // on a CPU
  std::unique_ptr<DeviceCrops> device_crops_;  // on a GPU
  std::vector<Floor> floors_;                  // of data_.held_out
  std::map<std::string, double> sums_;         // of loss terms since the last line of the log
  int64_t summed_ = 0;                         // steps in `sums_`
  int64_t logged_step_ = 0;
  double logged_s_ = 0.0, logged_waited_s_ = 0.0;
  std::string last_evaluation_;     // JSON, for the model's provenance
  std::string note_;                // behind the progress line
  std::unique_ptr<Budget> budget_;  // its clock starts with run()
};

}  // namespace lexel::train
