#pragma once

#include <string>
#include <vector>

#include "autoregressive/parallel/annotations.h"
#include "tests/autoregressive/tiny_model.h"

namespace lexel::tests {

/// tiny_parti() with four heads of width 8 and codes that divide among four ranks. Its 30 tokens do not.
inline ar::Config split_parti() {
  ar::Config config = tiny_parti();
  config.width = 32;
  config.heads = 4;
  config.codebook_size = 28;
  return config;
}

inline ar::Config split_vim() {
  ar::Config config = tiny_vim();
  config.width = 32;
  config.heads = 4;
  config.codebook_size = 28;
  return config;
}

/// A form of tensor parallelism.
struct Form {
  const char* name;
  std::vector<parallel::Annotation> (*annotations)(const ar::Config&);
};

inline const std::vector<Form>& forms() {
  static const std::vector<Form> all = {
      {"megatron", parallel::megatron_annotations},
      {"fully partitioned", parallel::fully_partitioned_annotations}};
  return all;
}

}  // namespace lexel::tests
