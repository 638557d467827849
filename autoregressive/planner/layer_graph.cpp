#include "autoregressive/planner/layer_graph.h"

#include <algorithm>
#include <map>

#include "autoregressive/moe/gating.h"
#include "kernels/attention_mask.h"
#include "kernels/check.h"

namespace lexel::planner {
namespace {

using Kind = ModelOperator::Kind;
constexpr int kStream = ModelOperator::kStream, kText = ModelOperator::kText;
constexpr double kStreamBytes = 4;  // the residual stream is float32

/// Builds layers; letters as in the papers: D width, F hidden, H heads, e bytes of a value.
struct Builder {
  const ar::Config& config;
  const Training& training;
  double width = static_cast<double>(config.width);
  double e = training.compute_bytes;
  double mask = training.dropout > 0 ? 1 : 0;  // a mask is kept of each value that passes dropout

  /// A product with weight (inner, columns) and bias.
  ModelOperator matmul(const std::string& name, int64_t tokens, int64_t inner, int64_t columns,
                       std::vector<int> inputs, bool inner_cut) const {
    ModelOperator op{name, Kind::kMatmul, tokens, inner, columns};
    op.inputs = std::move(inputs);
    op.inner_cut = inner_cut;
    const double matrix = static_cast<double>(inner) * static_cast<double>(columns);
    op.flops = 2 * static_cast<double>(tokens) * matrix;
    op.weights = matrix + static_cast<double>(columns);
    op.split_weights = inner_cut ? matrix : op.weights;
    op.kept_once = e < 4 ? e * matrix : 0;  // the matrix in the product's dtype
    return op;
  }

  /// The norm before a product: its float32 input and its result are kept.
  void add_norm(ModelOperator& op, int64_t tokens) const {
    op.weights += 2 * width;
    op.kept_stream += kStreamBytes * width * static_cast<double>(tokens);
    op.kept_whole += e * width * static_cast<double>(tokens);
  }

  /// The product that ends a sublayer: dropout of what comes out, the addition to the stream.
  ModelOperator residual(const std::string& name, int64_t tokens, int64_t inner, int from,
                         int stream) const {
    ModelOperator op = matmul(name, tokens, inner, config.width, {from, stream}, true);
    op.kept_stream = mask * e * width * static_cast<double>(tokens);
    return op;
  }

  /// Queries, keys and values come out of operators `inputs`; q, k, v, the result and a sum for each head and query are kept, and
  /// the mask and result of dropout.
  ModelOperator attention(const std::string& name, int64_t tokens, double pairs, double kept_keys,
                          std::vector<int> inputs) const {
    ModelOperator op{name, Kind::kAttention, tokens, 0, config.width};
    op.inputs = std::move(inputs);
    op.column_units = config.heads;
    op.flops = 4 * pairs * width;
    const auto rows = static_cast<double>(tokens);
    op.kept_split = e * width * (2 * rows + 2 * kept_keys) +
                    4.0 * static_cast<double>(config.heads) * rows + mask * 2 * e * width * rows;
    return op;
  }

  void add_self_attention(Layer& layer, double pairs) const {
    const int64_t tokens = layer.tokens;
    const auto at = static_cast<int>(layer.operators.size());
    const int stream = at == 0 ? kStream : at - 1;
    ModelOperator qkv =
        matmul("attention.qkv", tokens, config.width, 3 * config.width, {stream}, false);
    qkv.column_units = config.heads;
    add_norm(qkv, tokens);
    layer.operators.push_back(qkv);
    layer.operators.push_back(
        attention("attention", tokens, pairs, static_cast<double>(tokens), {at}));
    if (!config.attention_output) return;
    ModelOperator out = residual("attention.out", tokens, config.width, at + 1, stream);
    out.inner_units = config.heads;
    layer.operators.push_back(out);
  }

  void add_cross_attention(Layer& layer) const {
    const int64_t tokens = layer.tokens, text = config.max_text_tokens;
    const auto at = static_cast<int>(layer.operators.size());
    ModelOperator q = matmul("cross.q", tokens, config.width, config.width, {at - 1}, false);
    q.column_units = config.heads;
    add_norm(q, tokens);
    ModelOperator kv = matmul("cross.kv", text, config.width, 2 * config.width, {kText}, false);
    kv.column_units = config.heads;
    layer.operators.push_back(q);
    layer.operators.push_back(kv);
    const double pairs = static_cast<double>(tokens) * static_cast<double>(text);
    layer.operators.push_back(
        attention("cross", tokens, pairs, static_cast<double>(text), {at, at + 1}));
    ModelOperator out = residual("cross.out", tokens, config.width, at + 2, at - 1);
    out.inner_units = config.heads;
    layer.operators.push_back(out);
  }

  void add_feed_forward(Layer& layer, int64_t block) const {
    const bool sparse = ar::has_experts(config, block);
    if (sparse && config.routing != "static") return add_experts(layer);
    const bool gated = !sparse && config.activation == "geglu";
    // Experts of one task side by side are one dense layer.
    const int64_t tokens = layer.tokens,
                  hidden = sparse ? config.experts * config.hidden : config.hidden;
    const auto at = static_cast<int>(layer.operators.size());
    ModelOperator up = matmul("feed_forward.up", tokens, config.width, gated ? 2 * hidden : hidden,
                              {at - 1}, false);
    up.column_units = hidden;
    add_norm(up, tokens);
    // Input of the activation, and of the next product; where dropout lies between, its mask too. Of a gated layer gate and value,
    // the gate by itself, gelu(gate), and what comes of them.
    up.kept_split = ((gated ? 5 : 2) + mask) * e * static_cast<double>(hidden * tokens);
    layer.operators.push_back(up);
    layer.operators.push_back(residual("feed_forward.down", tokens, hidden, at, at - 1));
  }

  /// The router, and experts of two matrices without biases. What dispatch and combine copy costs nothing here, as all work beside
  /// products.
  void add_experts(Layer& layer) const {
    const int64_t tokens = layer.tokens;
    const auto at = static_cast<int>(layer.operators.size());
    const auto n = static_cast<double>(tokens), experts = static_cast<double>(config.experts),
               hidden = static_cast<double>(config.hidden);
    ModelOperator router{"feed_forward.router", Kind::kMatmul, tokens, config.width,
                         config.experts};
    router.inputs = {at - 1};
    const bool by_task = config.routing == "task";
    router.flops = by_task ? 0 : 2 * n * width * experts;  // a table of tasks is read once a pass
    router.weights = experts * width + static_cast<double>(config.tasks) * width;
    add_norm(router, tokens);
    router.kept_whole += 4 * experts * n;                       // chances, float32
    if (e < 4 && !by_task) router.kept_whole += 4 * width * n;  // its input, float32
    layer.operators.push_back(router);

    ModelOperator op{"feed_forward.experts", Kind::kExperts, tokens, config.width, config.width};
    op.inputs = {at, at - 1};
    const double rows = expert_rows(config, tokens, 1, 1);
    op.flops = 4 * rows * width * hidden;
    op.weights = 2 * experts * width * hidden;
    // Inputs of both products, the activation's; a number for each row and choice; what is combined, weighted in float32.
    op.kept_whole = rows * (e * (width + 2 * hidden) + 8) + 2 * n * (e * width + 4 + 8);
    op.kept_stream = mask * kStreamBytes * width * n;
    op.kept_once = e < 4 ? e * op.weights : 0;
    layer.operators.push_back(op);
    layer.name += ", experts";
  }

  Layer encoder_block(int64_t block) const {
    Layer layer{"encoder block", {}, config.max_text_tokens};
    const auto tokens = static_cast<double>(layer.tokens);
    add_self_attention(layer, tokens * tokens);
    add_feed_forward(layer, block);
    return layer;
  }

  /// Pairs of query and key that a causal or conv-shaped mask lets see each other.
  double pairs(bool conv) const {
    const int64_t tokens = config.grid_height * config.grid_width;
    if (!conv) return static_cast<double>(tokens) * static_cast<double>(tokens + 1) / 2;
    const auto mask_rule = kernels::AttentionMask::conv(config.grid_width, config.conv_kernel);
    double count = 0;
    for (int64_t offset = 0; offset < tokens; ++offset)
      if (mask_rule.allows(tokens, tokens - offset)) count += static_cast<double>(tokens - offset);
    return count;
  }

  Layer decoder_block(int64_t block, bool conv) const {
    Layer layer{conv ? "decoder block (conv)" : "decoder block",
                {},
                config.grid_height * config.grid_width};
    add_self_attention(layer, pairs(conv));
    if (config.text_depth > 0) add_cross_attention(layer);
    add_feed_forward(layer, block);
    return layer;
  }

  /// Rows of a table by id, its positions added, dropout.
  Layer table(const std::string& name, int64_t tokens, int64_t ids, double others) const {
    Layer layer{name, {}, tokens};
    ModelOperator op{name, Kind::kTable, tokens, ids, config.width};
    op.inner_cut = true;
    op.inputs = {};
    op.split_weights = static_cast<double>(ids) * width;
    op.weights = op.split_weights + others * width;
    op.kept_stream = mask * kStreamBytes * width * static_cast<double>(tokens);
    layer.operators.push_back(op);
    return layer;
  }

  /// A norm by itself, at the encoder's end.
  Layer norm(const std::string& name, int64_t tokens) const {
    Layer layer{name, {}, tokens};
    ModelOperator op{name, Kind::kTable, tokens, 0, config.width};
    op.inputs = {kStream};
    op.weights = 2 * width;
    const auto rows = static_cast<double>(tokens);
    op.kept_stream = kStreamBytes * width * rows;
    op.kept_whole = e * width * rows;
    layer.operators.push_back(op);
    return layer;
  }

  /// The decoder's norm, the product with all codes and the cross entropy, whose gradients are made in the forward pass.
  Layer loss() const {
    const int64_t tokens = config.grid_height * config.grid_width;
    Layer layer{"softmax", {}, tokens};
    ModelOperator op =
        matmul("softmax", tokens, config.width, config.codebook_size, {kStream}, false);
    op.kind = Kind::kLoss;
    const double matrix = width * static_cast<double>(config.codebook_size);
    add_norm(op, tokens);
    op.kept_whole += e * width * static_cast<double>(tokens);  // the input's gradient
    op.kept_once = 4 * matrix + (e < 4 ? e * matrix : 0);      // the weight's
    layer.operators.push_back(op);
    return layer;
  }
};

}  // namespace

double Layer::flops() const {
  double sum = 0;
  for (const ModelOperator& op : operators) sum += op.flops;
  return sum;
}

double Layer::weights() const {
  double sum = 0;
  for (const ModelOperator& op : operators) sum += op.weights;
  return sum;
}

bool Layer::has_experts() const {
  return std::ranges::any_of(operators,
                             [](const ModelOperator& op) { return op.kind == Kind::kExperts; });
}

double LayerGraph::flops() const {
  double sum = layers[tables].flops() + layers[loss].flops();
  for (const size_t layer : encoder) sum += layers[layer].flops();
  for (const size_t layer : decoder) sum += layers[layer].flops();
  return sum;
}

double LayerGraph::weights() const {
  double sum = layers[tables].weights() + layers[loss].weights();
  if (has_text()) sum += layers[text_tables].weights() + layers[encoder_norm].weights();
  for (const size_t layer : encoder) sum += layers[layer].weights();
  for (const size_t layer : decoder) sum += layers[layer].weights();
  return sum;
}

double expert_rows(const ar::Config& config, int64_t tokens, int64_t pictures, int64_t ranks) {
  const int64_t choices = 2 * pictures;
  if (config.routing == "token")
    return static_cast<double>(
        config.experts * pictures *
        moe::expert_capacity(config.capacity_factor, tokens, config.experts));
  if (ranks == 1) return static_cast<double>(choices * tokens);
  const int64_t most = (choices + config.experts - 1) / config.experts;
  return static_cast<double>(config.experts * most * tokens);
}

LayerGraph layer_graph(const ar::Config& config, const Training& training) {
  ar::validate(config);
  const Builder builder{config, training};
  LayerGraph graph;
  graph.config = config;
  const auto add = [&graph](Layer layer) {
    graph.layers.push_back(std::move(layer));
    return graph.layers.size() - 1;
  };
  // Blocks of the same kind are one layer.
  const auto add_blocks = [&](int64_t depth, std::vector<size_t>& stack, const auto& kind_of,
                              const auto& make) {
    std::map<int, size_t> known;
    for (int64_t i = 0; i < depth; ++i) {
      const int kind = kind_of(i) + (ar::has_experts(config, i) ? 2 : 0);
      if (!known.contains(kind)) known.emplace(kind, add(make(i)));
      stack.push_back(known.at(kind));
    }
  };
  if (config.text_depth > 0) {
    graph.text_tables =
        add(builder.table("text_embedding", config.max_text_tokens, config.text_vocabulary,
                          static_cast<double>(config.max_text_tokens)));
    add_blocks(
        config.text_depth, graph.encoder, [](int64_t) { return 0; },
        [&](int64_t i) { return builder.encoder_block(i); });
    graph.encoder_norm = add(builder.norm("encoder.norm", config.max_text_tokens));
  }
  const int64_t tokens = config.grid_height * config.grid_width;
  graph.tables = add(builder.table(
      "token_embedding", tokens, config.codebook_size,
      static_cast<double>(config.classes + 1 + config.grid_height + config.grid_width)));
  const std::vector<bool> conv = ar::conv_blocks(config);
  add_blocks(
      config.depth, graph.decoder, [&](int64_t i) { return conv[static_cast<size_t>(i)] ? 1 : 0; },
      [&](int64_t i) { return builder.decoder_block(i, conv[static_cast<size_t>(i)]); });
  graph.loss = add(builder.loss());
  return graph;
}

std::vector<Operator> sharding_problem(const Layer& layer, const ar::Config& config,
                                       int64_t pictures, double flops_s, const Spec& stream) {
  check_arg(!layer.has_experts(), "sharding_problem", "expected a layer without experts, got ",
            layer.name);
  std::vector<Operator> problem;
  const auto input = [&](const char* name, int64_t tokens, const Spec& spec) {
    Operator op{name, Operator::Kind::kInput, {}, pictures * tokens, 0, config.width, pictures};
    op.fixed = spec;
    problem.push_back(op);
    return problem.size() - 1;
  };
  const auto& first = layer.operators.front();
  const bool is_table = first.kind == ModelOperator::Kind::kTable && first.inner > 0;
  const size_t x =
      is_table ? 0 : input("x", layer.tokens, stream);  // a table reads ids, which are everywhere
  size_t text = 0;
  for (const ModelOperator& op : layer.operators)
    for (const int from : op.inputs)
      if (from == kText && text == 0) text = input("text", config.max_text_tokens, {});
  const size_t base = problem.size();
  for (const ModelOperator& op : layer.operators) {
    if (op.inner == 0 && op.kind == ModelOperator::Kind::kTable) continue;  // a norm moves nothing
    const auto kind = op.kind == ModelOperator::Kind::kAttention ? Operator::Kind::kAttention
                                                                 : Operator::Kind::kMatmul;
    Operator made{op.name, kind, {}, pictures * op.tokens, op.inner, op.columns};
    if (kind == Operator::Kind::kAttention) made.row_units = pictures;
    made.inner_units = op.inner_units;
    made.column_units = op.column_units;
    made.inner_cut = op.inner_cut;
    made.always_cut = is_table;
    made.seconds = 3 * op.flops * static_cast<double>(pictures) / flops_s;
    // The text's gradient is reduced once, at the encoder's end.
    made.gradient = !is_table && (op.inputs.empty() || op.inputs[0] != kText);
    for (const int from : op.inputs)
      made.inputs.push_back(from == kStream ? x
                            : from == kText ? text
                                            : base + static_cast<size_t>(from));
    problem.push_back(made);
  }
  if (first.kind == ModelOperator::Kind::kLoss || problem.size() == base) return problem;
  Operator output{
      "y", Operator::Kind::kOutput, {problem.size() - 1}, pictures * layer.tokens, 0, config.width};
  output.fixed = stream;
  problem.push_back(output);
  return problem;
}

}  // namespace lexel::planner
