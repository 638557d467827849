#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "apps/train/options.h"
#include "apps/train/tokenizer/picture_pool.h"
#include "apps/train/tokenizer/training_state.h"

// Private to apps/train (a JSON type in a header).

namespace lexel::train {

/// The sets with their numbers of pictures, the hash over all of them, and how many were skipped.
nlohmann::ordered_json provenance_of_data(const TrainingData& data);

/// How a model came about, as JSON: command, recipe, data, steps, time, device, revision, date, and the
/// last evaluation (JSON).
std::string provenance_of_run(const cli::TrainOptions& options, const TrainingState& state,
                              const TrainingData& data, const std::string& device, double elapsed_s,
                              const std::string& evaluation);

}  // namespace lexel::train
