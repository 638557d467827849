#pragma once

#include <cstdint>

#include "kernels/sampling_arithmetic.h"

namespace lexel::kernels::cpu {

struct SamplingArguments {
  const float* logits;         // (B, V)
  const float* unconditional;  // (B, V); read only if rule.guided
  const int64_t* pictures;     // (B)
  const int64_t* positions;    // (B)
  int64_t num_rows, vocabulary;
  SamplingRule rule;
  int64_t* ids;              // (B), written
  float* log_probabilities;  // (B), written
};

/// sample() on checked arguments.
void sample(const SamplingArguments& arguments);

}  // namespace lexel::kernels::cpu
