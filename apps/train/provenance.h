#pragma once

#include <cstdint>
#include <string>

namespace lexel::train {

/// What a provenance tells of a run.
struct RunFacts {
  std::string command;
  std::string recipe;  // JSON
  std::string data;    // JSON, with a "fingerprint"
  int64_t steps = 0;
  int64_t pictures = 0;  // samples that were learnt from, repeated ones each time
  double elapsed_s = 0.0;
  int64_t seed = 0;
  std::string device;      // "cpu", "cuda:0"
  std::string evaluation;  // the last one, JSON; or empty
};

/// How a model came about, as JSON: the facts, processor and threads, revision of the source, date.
std::string provenance_of_run(const RunFacts& facts);

}  // namespace lexel::train
