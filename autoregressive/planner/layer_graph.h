#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autoregressive/config.h"
#include "autoregressive/planner/intra_operator.h"

namespace lexel::planner {

/// How the model is trained, as far as it costs time or memory.
struct Training {
  int64_t batch = 8192;      // pictures in a step, of all ranks together
  double compute_bytes = 2;  // of a value in products and attention: 2 bfloat16, 4 float32
  double dropout = 0.1;      // 0 keeps no masks
  double state_bytes = 8;    // of the optimizer for each weight: AdamW 8
  double average_bytes = 0;  // of averaged weights: 4 where they are kept
  int64_t loss_rows = 8192;  // tokens whose logits exist at once: 8192 on a GPU, 512 on a CPU
};

/// An operator of the model with the norm, activation, dropout and addition that belong to it. Counts are of one picture.
struct ModelOperator {
  enum class Kind { kTable, kMatmul, kAttention, kExperts, kLoss };
  std::string name;  // as its weights are: "attention.qkv"
  Kind kind = Kind::kMatmul;
  int64_t tokens = 0;              // rows of its result
  int64_t inner = 0, columns = 0;  // of a weight (inner, columns); a table has a row an id
  int64_t inner_units = 0, column_units = 0;  // heads; 0: single ones
  bool inner_cut = false;     // what the tensor axis cuts of the weight: inner, else columns
  std::vector<int> inputs{};  // operators of this layer; kStream, kText
  double flops = 0;           // forward: 2 for each multiply and add
  double weights = 0;         // values, with biases and the norm's
  double split_weights = 0;   // those of them that the tensor axis cuts
  // Bytes kept for the backward pass: what the tensor axis cuts, what it cuts where the residual stream is split, what it never cuts.
  double kept_split = 0, kept_stream = 0, kept_whole = 0;
  double kept_once =
      0;  // for each pass, however many pictures: weights in bfloat16, the loss's gradients; cut by the axis that cuts the weights

  static constexpr int kStream = -1, kText = -2;
};

/// Operators that run one after the other on the same ranks.
struct Layer {
  std::string name;  // "encoder block", ...
  std::vector<ModelOperator> operators;
  int64_t tokens = 0;  // of its stream

  double flops() const;
  double weights() const;
  bool has_experts() const;
};

/// The model as a chain of layers. Blocks that are alike are one layer, so that it is planned once.
struct LayerGraph {
  ar::Config config;
  std::vector<Layer> layers;
  std::vector<size_t> encoder, decoder;  // layer of each block
  // Layers beside the blocks: text_tables and encoder_norm only with text
  size_t text_tables = 0, encoder_norm = 0, tables = 0, loss = 0;

  bool has_text() const { return !encoder.empty(); }
  double flops() const;    // forward of one picture, whose text fills max_text_tokens
  double weights() const;  // = parameter_count(ar::parameters)
};

/// Rows that the experts of one layer compute for a rank's pass: those of the buffer, filled or not.
///   routed by token   E b C, C = ceil(capacity_factor 2 n / E) of each picture
///   routed by task    2 b n; where experts lie on several ranks each expert has as many rows as the one that is chosen most, of
///                     which the planner takes tasks to be spread evenly: E ceil(2 b / E) n
///
/// tokens    n, of a picture or its text
/// pictures  b, of this rank
/// ranks     that the experts are shared out among
double expert_rows(const ar::Config& config, int64_t tokens, int64_t pictures, int64_t ranks);

/// throws   Error(kUsage) as ar::validate
LayerGraph layer_graph(const ar::Config& config, const Training& training);

/// A layer as operators between layouts: its stream comes and goes in layout `stream`, the text whole. Experts are no part of it:
/// they lie on an axis of their own, and all ranks of "tensor" compute them alike.
///
/// pictures   in a micro-batch, of one device of axis 0
/// flops_s    operations a second of one device
/// throws     Error(kUsage) on a layer with experts
std::vector<Operator> sharding_problem(const Layer& layer, const ar::Config& config,
                                       int64_t pictures, double flops_s, const Spec& stream);

}  // namespace lexel::planner
