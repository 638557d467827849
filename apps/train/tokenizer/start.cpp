#include "apps/train/tokenizer/start.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <algorithm>
#include <filesystem>

#include "apps/train/tokenizer/loader.h"
#include "kernels/check.h"
#include "tokenizers/io/safetensors.h"
#include "vqgan/patches.h"

namespace lexel::train {
namespace {

// Batches of the loader from here on are never reached by steps.
constexpr int64_t kStartBatches = int64_t{1} << 40;
constexpr int64_t kStartBatch = 32;  // crops

// Enough for centres that no longer move the floor by 0.1 dB.
constexpr int64_t kFloorPatches = 250'000;
constexpr int64_t kFloorRounds = 6;

}  // namespace

at::Tensor sample_patches(const CropSampler& sampler, const TrainRecipe& recipe, int64_t crops,
                          int64_t limit, int64_t workers) {
  const int64_t size = recipe.model.image_size;
  const int64_t batches = std::max<int64_t>(1, crops / kStartBatch);
  Loader loader(sampler, kStartBatch, size, kStartBatches, workers, 2 * workers);
  std::vector<at::Tensor> parts;
  for (int64_t i = 0; i < batches; ++i) {
    const at::Tensor patches =
        vqgan::to_patches(loader.next(), recipe.model.patch_size).flatten(0, 1);
    const int64_t share = std::max<int64_t>(1, limit / batches);
    if (share >= patches.size(0)) {
      parts.push_back(patches);
    } else {
      const at::Tensor rows = at::arange(share).mul(patches.size(0)).div(share, "floor");
      parts.push_back(patches.index_select(0, rows.to(at::kLong)));
    }
  }
  return at::cat(parts).contiguous();
}

void start_model(TrainingState& state, const CropSampler& sampler, int64_t workers) {
  const TrainRecipe& recipe = state.recipe;
  if (recipe.start == "plain") return;
  const at::NoGradGuard no_grad;
  const int64_t limit = int64_t{1} << 40;
  const at::Tensor patches = sample_patches(sampler, recipe, recipe.start_crops, limit, workers);
  check(patches.size(0) >= recipe.model.codebook_size, ErrorKind::kUsage,
        "start_crops: expected at least ", recipe.model.codebook_size, " patches, got ",
        patches.size(0));
  const at::Device device = state.model.quantizer.codebook.device();
  at::Tensor counts;  // (K)
  if (recipe.model.linear_path) {
    counts = vqgan::start_from_kmeans(state.model, patches.to(device), recipe.kmeans_rounds,
                                      uint64_t(recipe.seed));
  } else {
    const int64_t grid = recipe.model.image_size / recipe.model.patch_size;
    const at::Tensor images = vqgan::from_patches(patches.view({-1, grid * grid, patches.size(1)}),
                                                  grid, grid, recipe.model.patch_size);
    // Latents are those of the whole model, not of this rank's part.
    vqgan::Model whole =
        state.stacks ? vqgan::make_model(recipe.model, uint64_t(recipe.seed), device) : state.model;
    vqgan::start_codebook_from_latents(whole, images.to(device), recipe.kmeans_rounds,
                                       uint64_t(recipe.seed));
    state.model.quantizer.codebook.copy_(whole.quantizer.codebook);
  }
  state.optimizer->reset_averages();
  if (!state.ema_codes) return;
  // As if steps of this batch had gone on forever: code k is chosen tokens * share(k) times a step.
  *state.ema_codes = vqgan::EmaCodes(state.model, 1.0);
  state.ema_codes->decay = recipe.codebook_ema;
  if (counts.defined()) {
    const double tokens = double(recipe.batch * recipe.accumulation) *
                          double(recipe.model.image_size * recipe.model.image_size) /
                          double(recipe.model.patch_size * recipe.model.patch_size);
    const at::Tensor weights =
        counts.to(at::kFloat).clamp_min(1.0).mul(tokens / double(patches.size(0)));  // (K)
    const at::Tensor scale = weights / state.ema_codes->counts;
    state.ema_codes->sums.mul_(scale.unsqueeze(1));
    state.ema_codes->counts.copy_(weights);
  }
}

void share_start(TrainingState& state, parallel::Mesh& mesh) {
  const at::NoGradGuard no_grad;
  for (const Parameter& p : vqgan::parameters(state.model)) {
    const bool split = state.stacks && state.stacks->is_split(p.name);
    at::Tensor weights = p.tensor->detach();
    (split ? mesh.along("data") : mesh.everyone()).broadcast(weights, 0);
  }
  state.optimizer->reset_averages();
  if (!state.ema_codes) return;
  mesh.everyone().broadcast(state.ema_codes->counts, 0);
  mesh.everyone().broadcast(state.ema_codes->sums, 0);
}

at::Tensor raw_patch_centres(const std::string& path, const CropSampler& sampler,
                             const TrainRecipe& recipe, int64_t workers) {
  if (std::filesystem::exists(path)) {
    const at::Tensor kept = SafetensorsFile(path).tensor("centres");
    if (kept.size(0) == recipe.model.codebook_size) return kept;
  }
  const at::NoGradGuard no_grad;
  const at::Tensor patches =
      sample_patches(sampler, recipe, recipe.start_crops, kFloorPatches, workers);
  if (patches.size(0) < recipe.model.codebook_size) return {};
  const vqgan::KMeansOptions options{.clusters = recipe.model.codebook_size,
                                     .rounds = kFloorRounds,
                                     .spherical = false,
                                     .seed = uint64_t(recipe.seed)};
  const at::Tensor centres = vqgan::kmeans(patches, options).centres;
  write_safetensors(path, {{"lexel.kind", "raw_patch_centres"}}, {{"centres", centres}});
  return centres;
}

}  // namespace lexel::train
