#pragma once

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/eval/detector/judge.h"
#include "apps/eval/generator/scene_set.h"
#include "apps/eval/metrics.h"

// Private to apps/eval (a JSON type in a header): the parts of a generator's report.

namespace lexel::eval {

using Json = nlohmann::ordered_json;

/// What the detector saw of a set: the pictures themselves, the same through the tokenizer, and what was drawn.
struct Sights {
  std::vector<Sight> composed, decoded, drawn;
};

/// For each claim: the drawn pictures' share with its Wilson interval, beside the detector's own share on true
/// scenes (the ceiling) and that of other captions (chance). Presence of one thing also by what is held out: the
/// sentence, or the thing alone.
Json caption_match(const SceneSet& set, const Sights& sights, const data::ThingSizes& sizes);

/// Frechet distance of two feature sets of one size with a bootstrap interval over pairs, centred on the estimate.
///
/// a, b     (N, D), N >= 2
Json frechet(const at::Tensor& a, const at::Tensor& b, uint64_t seed);

/// Mean of held-out pictures and of those as in training, and the gap between, with bootstrap intervals.
Json likelihood(const std::vector<double>& heldout, const std::vector<double>& train,
                int64_t codebook_size, uint64_t seed, int64_t resamples);

/// The report for a terminal.
std::string table(const Json& report);

}  // namespace lexel::eval
