#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "autoregressive/config.h"
#include "autoregressive/parallel/mesh.h"

namespace lexel::parallel {

/// Where a tensor's values lie: whole on every rank, or cut along `dim` over the ranks of the mesh's axis `axis`.
/// source   Lepikhin et al. 2020 (GShard), arXiv:2006.16668, section 3.2: replicate(t), split(t, dim, n)
struct Placement {
  bool split = false;
  int64_t dim = 0;   // of a split
  std::string axis;  // of a split: "tensor", ...

  static Placement replicate() { return {}; }
  static Placement along(int64_t dim, const std::string& axis) { return {true, dim, axis}; }
  bool operator==(const Placement&) const = default;
};

/// The placement of all weights whose name in ar::parameters() fits `pattern`; '*' stands for any run of characters.
struct Annotation {
  std::string pattern;
  Placement placement;
  bool operator==(const Annotation&) const = default;
};

/// Blocks begin, begin + 1 .. end - 1; none where both are equal.
struct BlockRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const BlockRange&) const = default;
};

/// What one stage of the pipeline holds. Beside its blocks: the tables of text with the encoder's first block, those of
/// pictures (start, token_embedding, positions) with the decoder's first, encoder.norm with the encoder's last block,
/// decoder.norm and softmax with the decoder's last.
struct Stage {
  BlockRange encoder, decoder;
  bool operator==(const Stage&) const = default;
};

/// What the planner expects of one rank of the pipeline, the same for all ranks of the other axes.
struct RankPrediction {
  double memory_bytes = 0;  // at the peak
  double busy_s = 0;        // of a step: computing, and waiting for the tensor axis
  bool operator==(const RankPrediction&) const = default;
};

/// What the planner expects of a step; all zero in a plan made by hand.
struct Prediction {
  double step_s = 0;
  double bubble = 0;  // share of the step in which the pipeline's ranks have nothing to do
  std::vector<RankPrediction>
      ranks;  // by coordinate on the axis "pipeline"; empty in a plan made by hand
  std::map<std::string, double>
      bytes;  // sent in a step by the rank that sends most of it, by Traffic's names
  bool operator==(const Prediction&) const = default;
};

/// How one model runs on many ranks: a value beside the model, whose code knows nothing of it.
struct Plan {
  std::string model;        // its name, for people; may be empty
  std::string fingerprint;  // model_fingerprint() of the model that it is for
  MeshShape mesh;
  int64_t batch = 1;          // pictures in a step, of all ranks together
  int64_t micro_batches = 1;  // M, that a rank's share of them is cut into
  // "gpipe": all micro-batches forward, then all backward; "1f1b": one forward, one backward; "circular": `rounds` stages a
  // rank, forward as in Parti
  std::string schedule = "gpipe";
  int64_t rounds = 1;  // R, 1 unless circular
  // R times the length S of the axis "pipeline"; stage i is on rank i modulo S. Encoder and decoder are a pipeline each over the
  // same ranks (pipeline_schedule.h): the encoder's blocks are in stages 0 .. S-1, a stage may have none of either.
  std::vector<Stage> stages;
  bool rematerialize = false;  // blocks are computed again in the backward pass
  bool shard_update =
      true;  // over "data": gradients reduce-scattered, state of the optimizer kept once
  std::vector<Annotation> annotations;  // the first that fits holds; what none fits is replicated
  std::string residual =
      "replicate";  // residual stream over "tensor": "replicate", or "split" along the tokens
  Prediction predicted;
};

/// SHA-256 over "lexel-generator", a newline and the configuration as model files hold it: 64 hex digits.
std::string model_fingerprint(const ar::Config& config);

/// Matrices of attention by head, of the feed-forward layers by hidden unit, tables of words and codes by row, all over the axis
/// "tensor": what the tensor-parallel model carries out.
std::vector<Annotation> tensor_annotations();

/// A plan by hand: blocks shared out evenly, encoder and decoder each over all ranks of the pipeline (the encoder in the
/// first round), tensor_annotations() and expert_annotations() where the mesh has these axes (the table of words whole where its rows do not divide).
///
/// throws   Error(kUsage) as check_plan
Plan even_plan(const ar::Config& config, const MeshShape& mesh, int64_t batch,
               int64_t micro_batches = 1, const std::string& schedule = "gpipe",
               int64_t rounds = 1);

/// Whether `name` fits `pattern`.
bool fits(const std::string& pattern, const std::string& name);

/// Where the weight `name` lies under the plan.
Placement placement_of(const Plan& plan, const std::string& name);

/// A plan that cannot run this model is refused.
///
/// throws   Error(kUsage) naming what is wrong: another model's fingerprint, blocks left out or twice, a pipeline of another length,
///          heads, experts or a dimension that do not divide, an axis "expert" for a model without experts, an annotation that fits nothing, a batch that does not divide
void check_plan(const Plan& plan, const ar::Config& config);

/// As JSON, for files and people.
std::string plan_text(const Plan& plan);

/// The plan that a text or file holds. Its content is hostile until check_plan().
///
/// name     of the text, for messages
/// throws   Error(kBadData) naming the key: missing, unknown, twice, of another type, out of range, or too large; Error(kIo)
Plan parse_plan(const std::string& text, const std::string& name);
Plan read_plan(const std::string& path);

/// throws   Error(kIo)
void write_plan(const std::string& path, const Plan& plan);

}  // namespace lexel::parallel
