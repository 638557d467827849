#pragma once

#include <ATen/core/Tensor.h>
#include <string>

#include "apps/train/tokenizer/crops.h"
#include "apps/train/tokenizer/training_state.h"

namespace lexel::train {

/// Patches of training crops that no step of the run will see: (n, 3 P P) float32 in [0, 1].
///
/// crops    how many crops are cut, by `workers` threads
/// limit    most patches that are kept, spread evenly
at::Tensor sample_patches(const CropSampler& sampler, const TrainRecipe& recipe, int64_t crops,
                          int64_t limit, int64_t workers);

/// Applies recipe.start: "kmeans" sets linear path and codebook from patches (see start_from_kmeans), or the
/// codebook alone where the model has no linear path; "plain" does nothing. Averaged weights and averaged
/// codes begin from the result.
void start_model(TrainingState& state, const CropSampler& sampler, int64_t workers);

/// After the start: all ranks get what the first of them has, whose processor may round otherwise. All ranks call.
void share_start(TrainingState& state, parallel::Mesh& mesh);

/// Centres of raw patches, as many as the model has codes: the k-means floor. Kept in `path`, because they
/// take minutes.
at::Tensor raw_patch_centres(const std::string& path, const CropSampler& sampler,
                             const TrainRecipe& recipe, int64_t workers);

}  // namespace lexel::train
