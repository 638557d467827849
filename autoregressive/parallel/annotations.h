#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "autoregressive/config.h"
#include "autoregressive/parallel/mesh.h"
#include "autoregressive/parallel/plan.h"

namespace lexel::parallel {

/// Where every weight and activation of a model lies.
struct Sharding {
  MeshShape mesh;
  std::map<std::string, Placement> weights;      // all of ar::parameters()
  std::map<std::string, Placement> activations;  // see propagate()
  std::map<std::string, int64_t> stacks;         // stacked_matrices() of all weights

  /// throws   Error(kUsage) on a name that the model does not have
  const Placement& weight(const std::string& name) const;
  const Placement& activation(const std::string& name) const;
};

/// From the placements of some tensors those of all. Tensors that share a dimension share its placement: the hidden units of
/// a feed-forward layer are up.weight's rows, up.bias, the columns of down.weight and the activation between, which GELU and
/// dropout follow; the heads of an attention are the rows of qkv (or q, kv), what is attended, and the columns of out. A layer
/// whose rows are split reads the whole stream; one whose columns are split gives partial sums, which are reduced to the
/// stream (all-reduce), or to its parts (reduce-scatter) where the stream is split. What nothing splits is replicated.
///
/// annotations  of weights, and of these activations: "encoder.stream", "decoder.stream" (B, N, D), the residual streams, of
///              which tokens may be split (dimension 1); "<block>.attention.heads", "<block>.feed_forward.hidden" (B, N, width)
///              in dimension 2 (experts lie on the axis "expert", their matrices' rows by expert); "cross.heads", which all blocks share, as all read one text; "logits" (B, N, K).
///              Of a tensor the first that fits holds
/// throws       Error(kUsage) naming tensor and axis: annotations that contradict each other, a dimension that cannot be split
///              (the stream's width), heads, hidden units or rows that do not divide, an annotation that fits nothing
/// source       Lepikhin et al. 2020 (GShard), arXiv:2006.16668, section 3.2 and 3.3
Sharding propagate(const ar::Config& config, const std::vector<Annotation>& annotations,
                   const MeshShape& mesh);

/// Those of the plan, its residual stream among them.
Sharding sharding_of(const ar::Config& config, const Plan& plan);

/// Heads, hidden units and rows of the vocabularies over the axis "tensor" (Megatron); and in the fully partitioned form the
/// tokens of the residual streams too.
/// source   Shoeybi et al. 2019, arXiv:1909.08053, section 3; Yu et al. 2022 (Parti), arXiv:2206.10789, section 3
std::vector<Annotation> megatron_annotations(const ar::Config& config);
std::vector<Annotation> fully_partitioned_annotations(const ar::Config& config);

/// Matrices that lie behind each other in the rows of a weight: 3 of qkv, 2 of kv and of a gated layer's up, else 1. Each is
/// split by itself.
int64_t stacked_matrices(const ar::Config& config, const std::string& weight);

std::string to_text(const Placement& placement);  // "replicate", "split(0,tensor)"

/// A line a tensor: name, shape of the whole, placement.
std::string to_table(const ar::Config& config, const Sharding& sharding);

}  // namespace lexel::parallel
