#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "apps/train/spae/pictures.h"
#include "spae/model.h"
#include "spae/semantic_guide.h"

namespace lexel::train {

// What the upper layers of a SPAE begin with: a guide's net and words.

/// The semantic path as the guide's net: its hidden layer with the features' standardisation folded in, and for every position
/// its output in the space of the codes.
void start_from_guide(spae::Model& model, const spae::DualEncoder& guide);

/// The words that at least `least` drawings' captions hold, as rows of the codebook: what a guide may say. It hardly learnt to say
/// others, and the model's file holds a vector for each.
///
/// throws   Error(kUsage) when no word is left
std::vector<int64_t> said_words(const WordPictures& pictures, int64_t least);

/// Gives a semantic path of "guide" these words to say, rows of the model's codebook, whose semantics are there.
void say_words(spae::Model& model, const std::vector<int64_t>& rows);

/// Features of which a share, each picture's own, is the mean, and the others are as much farther from it: what a semantic path
/// learns from, so that it does not learn the few drawings by heart.
///
/// features  (B, F) float32
/// mean      (F) of the guide's training
/// number    of the batch: what is dropped depends on it and the seed only
at::Tensor dropped_features(const at::Tensor& features, const at::Tensor& mean, double share,
                            uint64_t seed, int64_t number);

}  // namespace lexel::train
