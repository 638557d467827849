#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <string>
#include <vector>

#include "autoregressive/model.h"
#include "tests/support/random_tensor.h"

namespace lexel::tests {

/// A 5 x 6 grid of 29 codes, two blocks of width 16 (the second with a conv-shaped mask), 7 pieces of 40, one encoder block.
inline ar::Config tiny_parti() {
  ar::Config config;
  config.text_depth = 1;
  config.text_vocabulary = 40;
  config.max_text_tokens = 7;
  config.depth = 2;
  config.width = 16;
  config.heads = 2;
  config.hidden = 24;
  config.grid_height = 5;
  config.grid_width = 6;
  config.codebook_size = 29;
  config.conv_kernel = 3;
  config.conv_layers = "1";
  return config;
}

/// The same decoder without text, for three classes.
inline ar::Config tiny_vim() {
  ar::Config config = tiny_parti();
  config.text_depth = 0;
  config.classes = 3;
  config.attention_output = false;
  return config;
}

/// tiny_parti with three decoder and two encoder blocks, of which one each has four experts.
inline ar::Config tiny_experts(const std::string& routing = "token") {
  ar::Config config = tiny_parti();
  config.text_depth = 2;
  config.depth = 3;
  config.conv_layers = "2";
  config.experts = 4;
  config.routing = routing;
  config.tasks = routing == "task" ? 3 : 0;
  return config;
}

/// Random pieces of differing lengths, or classes with "no class" among them.
inline ar::Condition tiny_condition(const ar::Config& config, int64_t batch, uint64_t seed = 1) {
  ar::Condition condition;
  if (config.text_depth > 0) {
    condition.text = random_ids(seed, {batch, config.max_text_tokens}, config.text_vocabulary);
    condition.lengths = random_ids(seed + 1, {batch}, config.max_text_tokens) + 1;
  } else if (config.classes > 0) {
    condition.classes = random_ids(seed, {batch}, config.classes + 1);
  }
  if (config.tasks > 0) condition.tasks = random_ids(seed + 2, {batch}, config.tasks);
  return condition;
}

inline at::Tensor tiny_tokens(const ar::Config& config, int64_t batch, uint64_t seed = 9) {
  return random_ids(seed, {batch, config.grid_height * config.grid_width}, config.codebook_size);
}

/// What starts as zeros made random, so that every value has a part in the results.
inline void fill_zeros(ar::Model& model) {
  const at::NoGradGuard no_grad;
  for (const Parameter& p : ar::parameters(model)) {
    if (p.init.kind == Init::Kind::kZeros) {
      p.tensor->copy_(random_tensor(fnv1a(p.name), p.shape) * 0.1);
    }
  }
}

inline void to_double(ar::Model& model) {
  for (const Parameter& p : ar::parameters(model)) *p.tensor = p.tensor->to(at::kDouble);
}

}  // namespace lexel::tests
