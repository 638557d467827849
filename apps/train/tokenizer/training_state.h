#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "apps/train/budget.h"
#include "apps/train/optimizer.h"
#include "apps/train/schedule.h"
#include "apps/train/tokenizer/recipe.h"
#include "apps/train/tokenizer/sharded_stacks.h"
#include "autoregressive/parallel/mesh.h"
#include "vqgan/codebook_care.h"
#include "vqgan/discriminator.h"
#include "vqgan/model.h"

namespace lexel::train {

/// All that changes while a run goes on, and nothing else: saved whole, it continues bit for bit.
struct TrainingState {
  TrainRecipe recipe;
  vqgan::Model model;                     // this rank's part
  std::unique_ptr<ShardedStacks> stacks;  // over the axis "tensor"; null: the model is whole
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<vqgan::CodebookUsage> usage;
  std::unique_ptr<vqgan::EmaCodes> ema_codes;           // recipe.codebook_ema > 0
  std::unique_ptr<vqgan::Discriminator> discriminator;  // recipe.losses.adversarial > 0
  std::unique_ptr<Optimizer> discriminator_optimizer;

  int64_t step = 0;  // finished steps
  Plan plan;
  double elapsed_s = 0.0;     // of training, over all its parts
  int64_t metrics_bytes = 0;  // length of metrics.jsonl
  int64_t restarts = 0;       // codes, in all
  UsualLoss usual_loss;
  double best_psnr = -1.0;  // dB, of the evaluations so far
  std::string data_fingerprint;
};

/// The whole model, on every rank, for evaluations and files; all ranks call.
vqgan::Model whole_model(const TrainingState& state);

/// A model with its optimizers before the first step: this rank's part of the one that the seed gives. Where codes are moving averages,
/// the optimizer does not touch them and they have no averaged weights.
///
/// device   where all tensors live
/// mesh     the ranks that train together; outlives the state
void make_training_state(TrainingState& state, const TrainRecipe& recipe, at::Device device,
                         parallel::Mesh& mesh);

/// Atomically, all ranks together; the file before it stays until the new one is whole.
void save_checkpoint(const std::string& path, const TrainingState& state,
                     const parallel::World& world = {});

/// throws   Error(kIo); Error(kBadData) when the file is no training checkpoint or does not fit its recipe
void load_checkpoint(const std::string& path, TrainingState& state, at::Device device,
                     parallel::Mesh& mesh);

}  // namespace lexel::train
