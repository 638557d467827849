#include "apps/train/tokenizer/training_state.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "tests/apps/train/tokenizer/made_pictures.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/model_file.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::TemporaryFolder;
using tests::tiny_recipe;

parallel::Mesh mesh;  // of one

bool holds(const std::vector<StatePiece>& pieces, const std::string& name) {
  return std::any_of(pieces.begin(), pieces.end(),
                     [&](const StatePiece& piece) { return piece.name == name; });
}

TEST(TrainingState, CodesThatAreAveragesAreNotTrainedByGradient) {
  TrainRecipe recipe = tiny_recipe();
  TrainingState averaged, trained;
  make_training_state(averaged, recipe, at::kCPU, mesh);
  recipe.codebook_ema = 0.0;
  recipe.losses.codebook = 1.0;
  make_training_state(trained, recipe, at::kCPU, mesh);
  EXPECT_FALSE(holds(averaged.optimizer->state(), "first/quantizer.codebook"));
  EXPECT_TRUE(holds(trained.optimizer->state(), "first/quantizer.codebook"));
  EXPECT_TRUE(averaged.ema_codes);
  EXPECT_FALSE(trained.ema_codes);
}

TEST(Checkpoint, GivesEverythingBack) {
  const TemporaryFolder folder;
  const std::string path = (folder / "c.safetensors").string();
  TrainRecipe recipe = tiny_recipe();
  recipe.losses.adversarial = 0.1;
  recipe.discriminator = {.image_size = 32, .channel_base = 64, .max_channels = 8, .group = 2};
  TrainingState state;
  make_training_state(state, recipe, at::kCPU, mesh);
  state.step = 7;
  state.plan = {3, 0.125, 90};
  state.elapsed_s = 12.5;
  state.metrics_bytes = 77;
  state.restarts = 5;
  state.usual_loss.value = 0.1;
  state.best_psnr = 21.5;
  state.data_fingerprint = "abc";
  state.optimizer->set_steps(7);
  state.discriminator_optimizer->set_steps(3);
  state.usage->observe(tests::random_ids(1, {4, 16}, 32));
  state.ema_codes->counts.mul_(3.0);
  save_checkpoint(path, state);

  TrainingState back;
  load_checkpoint(path, back, at::kCPU, mesh);
  EXPECT_EQ(to_json(back.recipe), to_json(recipe));
  EXPECT_EQ(back.step, 7);
  EXPECT_EQ(back.plan.from_step, 3);
  EXPECT_EQ(back.plan.from_progress, 0.125);
  EXPECT_EQ(back.plan.total_steps, 90);
  EXPECT_EQ(back.elapsed_s, 12.5);
  EXPECT_EQ(back.metrics_bytes, 77);
  EXPECT_EQ(back.restarts, 5);
  EXPECT_EQ(back.usual_loss.value, 0.1);
  EXPECT_EQ(back.best_psnr, 21.5);
  EXPECT_EQ(back.data_fingerprint, "abc");
  EXPECT_EQ(back.optimizer->steps(), 7);
  EXPECT_EQ(back.discriminator_optimizer->steps(), 3);
  EXPECT_EQ(back.usage->observations, 1);
  EXPECT_TRUE(back.usage->counts.equal(state.usage->counts));
  EXPECT_TRUE(back.ema_codes->counts.equal(state.ema_codes->counts));
  EXPECT_TRUE(back.model.encoder.patch.weight.equal(state.model.encoder.patch.weight));
  EXPECT_TRUE(back.discriminator->stem_weight.equal(state.discriminator->stem_weight));
}

TEST(Checkpoint, OfAnotherKindOrWithATensorMissingIsBadData) {
  const TemporaryFolder folder;
  const std::string path = (folder / "c.safetensors").string();
  TrainingState state, back;
  make_training_state(state, tiny_recipe(), at::kCPU, mesh);
  save_checkpoint(path, state);
  ModelFile file = read_model_file(path);
  ModelFile other = file;
  other.kind = "vit_vqgan";
  write_model_file(path, other);
  expect_error(ErrorKind::kBadData, "expected a training checkpoint, got a vit_vqgan",
               [&] { load_checkpoint(path, back, at::kCPU, mesh); });
  file.tensors.erase("usage/counts");
  write_model_file(path, file);
  expect_error(ErrorKind::kBadData, "tensor 'usage/counts' is missing",
               [&] { load_checkpoint(path, back, at::kCPU, mesh); });
}

}  // namespace
}  // namespace lexel::train
