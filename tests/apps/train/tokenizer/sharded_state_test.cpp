#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <atomic>
#include <filesystem>
#include <gtest/gtest.h>

#include "apps/train/checkpoint.h"
#include "apps/train/tokenizer/same_weights.h"
#include "apps/train/tokenizer/training_state.h"
#include "tests/apps/train/tokenizer/made_pictures.h"
#include "tests/support/expect_error.h"
#include "tests/support/ranks.h"
#include "tests/support/temporary_folder.h"
#include "vqgan/train_step.h"

// The state of a training over the axes data and tensor.

namespace lexel::train {
namespace {

using tests::on_mesh;
using tests::TemporaryFolder;

TrainRecipe recipe_of_two_heads() {
  TrainRecipe recipe = tests::tiny_recipe();
  for (vqgan::StackConfig* stack : {&recipe.model.encoder, &recipe.model.decoder}) {
    stack->heads = 2;
    stack->head_width = 16;
  }
  recipe.losses.adversarial = 0.1;
  recipe.discriminator = {.image_size = 32, .channel_base = 64, .max_channels = 8, .group = 2};
  return recipe;
}

/// One step of both optimizers on the same pictures everywhere; returns the norms of both gradients.
std::pair<double, double> step(TrainingState& state) {
  const vqgan::TrainSetup setup{state.recipe.losses, at::kFloat, nullptr, state.discriminator.get(),
                                state.stacks.get()};
  const at::Tensor images = tests::random_uniform(5, {4, 3, 32, 32});
  state.optimizer->zero_gradients();
  state.discriminator_optimizer->zero_gradients();
  const auto pass = vqgan::generator_step(state.model, setup, images, state.step);
  pass.total.backward();
  vqgan::discriminator_step(setup, images, pass.forward.pictures.detach(), state.step)
      .total.backward();
  const at::NoGradGuard no_grad;
  state.ema_codes->update(state.model, pass.forward.latents, pass.forward.ids);
  ++state.step;
  return {state.optimizer->step(1e-3, {}), state.discriminator_optimizer->step(1e-3, {})};
}

/// Everything that a checkpoint holds, whole, as one rank reads it.
std::map<std::string, at::Tensor> all_of(const std::string& path) {
  parallel::Mesh alone;
  TrainingState state;
  load_checkpoint(path, state, at::kCPU, alone);
  const std::string copy = path + ".one.safetensors";
  save_checkpoint(copy, state);
  return read_checkpoint(copy).files.at(0).tensors;
}

TEST(ShardedState, StepsAndNormsAreThoseOfOneRankAndEachValueIsSavedOnce) {
  const TrainRecipe recipe = recipe_of_two_heads();
  const TemporaryFolder folder;
  parallel::Mesh none;
  TrainingState alone;
  make_training_state(alone, recipe, at::kCPU, none);
  std::vector<std::pair<double, double>> norms;
  for (int i = 0; i < 3; ++i) norms.push_back(step(alone));
  const std::string one = (folder / "one.safetensors").string();
  save_checkpoint(one, alone);
  const auto wanted = all_of(one);
  for (const char* shape : {"tensor=2", "data=2,tensor=2"}) {
    const std::string path = (folder / (std::string(shape) + ".safetensors")).string();
    on_mesh(shape, [&](parallel::Mesh& mesh) {
      TrainingState state;
      make_training_state(state, recipe, at::kCPU, mesh);
      for (const auto& [generator, discriminator] : norms) {
        const auto [own_generator, own_discriminator] = step(state);
        EXPECT_NEAR(own_generator, generator, 1e-4 * generator) << shape;
        EXPECT_NEAR(own_discriminator, discriminator, 1e-4 * discriminator) << shape;
      }
      check_same_weights(mesh, weights_of_all_ranks(state), state.step);
      check_same_weights(mesh, named_tensors(vqgan::parameters(*state.discriminator)), state.step);
      save_checkpoint(path, state, mesh.world());
    });
    const auto found = all_of(path);
    ASSERT_EQ(found.size(), wanted.size());
    int64_t values = 0, saved = 0;
    for (const auto& [name, tensor] : wanted) {
      EXPECT_LT((found.at(name) - tensor).abs().max().item<double>(), 1e-4) << name;
      values += tensor.numel();
    }
    for (const ModelFile& file : read_checkpoint(path).files)
      for (const auto& [name, tensor] : file.tensors) saved += tensor.numel();
    EXPECT_EQ(saved, values) << shape;
  }
}

TEST(ShardedState, ACheckpointOfAnyMeshIsReadByAnyOtherBitForBit) {
  const TrainRecipe recipe = recipe_of_two_heads();
  const TemporaryFolder folder;
  const auto name = [&](const std::string& shape) {
    return (folder / ("of " + shape + ".safetensors")).string();
  };
  const std::vector<std::string> shapes = {"data=2,tensor=2", "tensor=2", "data=2", "tensor=1"};
  on_mesh(shapes[0], [&](parallel::Mesh& mesh) {
    TrainingState state;
    make_training_state(state, recipe, at::kCPU, mesh);
    step(state);
    save_checkpoint(name(shapes[0]), state, mesh.world());
  });
  const auto wanted = all_of(name(shapes[0]));
  for (size_t i = 1; i < shapes.size(); ++i) {
    on_mesh(shapes[i], [&](parallel::Mesh& mesh) {
      TrainingState state;
      load_checkpoint(name(shapes[i - 1]), state, at::kCPU, mesh);
      EXPECT_EQ(state.step, 1);
      save_checkpoint(name(shapes[i]), state, mesh.world());
    });
    const auto found = all_of(name(shapes[i]));
    ASSERT_EQ(found.size(), wanted.size());
    for (const auto& [key, tensor] : wanted) EXPECT_TRUE(found.at(key).equal(tensor)) << key;
  }
}

TEST(ShardedState, AWeightThatDiffersOnOneRankIsNamedOnAll) {
  const TrainRecipe recipe = recipe_of_two_heads();
  std::atomic<int> told = 0;
  on_mesh("data=2,tensor=2", [&](parallel::Mesh& mesh) {
    TrainingState state;
    make_training_state(state, recipe, at::kCPU, mesh);
    check_same_weights(mesh, weights_of_all_ranks(state), 7);
    for (at::Tensor* tensor :
         {&state.model.quantizer.codebook, &state.model.decoder.stack.blocks[0].out.bias}) {
      const at::Tensor kept = tensor->detach().clone();
      if (mesh.world().rank == 3) {
        const at::NoGradGuard no_grad;
        tensor->view({-1})[5].add_(1e-6);
      }
      try {
        check_same_weights(mesh, weights_of_all_ranks(state), 7);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kInternal);
        EXPECT_EQ(std::string(error.what()),
                  concat("step 7: ",
                         tensor == &state.model.quantizer.codebook ? "quantizer.codebook"
                                                                   : "decoder.blocks.0.out.bias",
                         " is not the same on all ranks"));
        ++told;
      }
      tensor->detach().copy_(kept);
    }
  });
  EXPECT_EQ(told, 2 * 4);
}

}  // namespace
}  // namespace lexel::train
