#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/sampling_arithmetic.h"

namespace lexel::kernels::cuda {

/// As cpu::SamplingArguments; pictures and positions are read on the device, so that a captured graph draws anew.
struct SamplingArguments {
  const float* logits;         // (B, V)
  const float* unconditional;  // (B, V); read only if rule.guided
  const int64_t* pictures;     // (B)
  const int64_t* positions;    // (B)
  int64_t num_rows, vocabulary;
  SamplingRule rule;
  float* scratch;            // (B, V rounded up to 4) if V > kSharedVocabulary, else unused
  int64_t* ids;              // (B), written
  float* log_probabilities;  // (B), written
};

constexpr int64_t kSharedVocabulary = 8192;  // logits that a block keeps in shared memory

/// throws   Error(kInternal) when the launch fails
void launch_sample(const SamplingArguments& arguments, Stream stream);

}  // namespace lexel::kernels::cuda
