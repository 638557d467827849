#pragma once

#include <c10/core/ScalarType.h>
#include <cstdint>
#include <string>
#include <vector>

#include "autoregressive/config.h"
#include "autoregressive/parallel/annotations.h"
#include "autoregressive/parallel/group.h"

namespace lexel::parallel {

/// A collective that a layer calls in a pass of a model, by the placements around it.
struct LayerCollective {
  enum class Rows { kNone, kTokens, kTokensBefore, kText };  // 1, B N, B (N - 1), B m
  enum class Type { kCompute, kResidual, kWeights };

  std::string layer;       // "decoder.blocks.0.attention.qkv", "decoder.input", ...
  std::string collective;  // as Traffic calls it
  std::string axis;
  bool is_backward = false;
  bool is_again = false;  // it is called once more where blocks are computed again
  Rows rows = Rows::kNone;
  bool is_padded = false;  // N or m is rounded up to a multiple of the axis
  int64_t values = 0;      // of a row: the whole tensor's
  Type type = Type::kCompute;
};

/// Those of a pass of ar::token_loss under ShardedRunner, in the order of the layers.
std::vector<LayerCollective> collectives_of(const ar::Config& config, const Sharding& sharding);

/// What a pass is of.
struct PassShape {
  int64_t batch = 1;        // B, on this rank
  int64_t tokens = 0;       // N, or n where places are chosen
  int64_t text_tokens = 0;  // m: of the batch's longest caption
  at::ScalarType compute = at::kFloat, weights = at::kFloat;
  bool is_backward = true;
  bool rematerialize = false;
};

/// Calls and bytes of the pass, which is what Group::traffic() of the axis counts on each rank.
Traffic expected_traffic(const std::vector<LayerCollective>& collectives, const std::string& axis,
                         int64_t ranks, const PassShape& pass);

/// A line a collective: layer, pass, collective, axis, shape.
std::string to_table(const std::vector<LayerCollective>& collectives);

}  // namespace lexel::parallel
