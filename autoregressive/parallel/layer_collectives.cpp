#include "autoregressive/parallel/layer_collectives.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "autoregressive/parallel/vocabulary_loss.h"
#include "kernels/check.h"

namespace lexel::parallel {
namespace {

using Rows = LayerCollective::Rows;
using Type = LayerCollective::Type;

/// Walks a model's layers.
struct Walk {
  const ar::Config& config;
  const Sharding& sharding;
  std::vector<LayerCollective> list;

  void add(const std::string& layer, const char* collective, bool backward, Rows rows, bool padded,
           int64_t values, Type type = Type::kCompute) {
    LayerCollective c{layer, collective, "tensor", backward, false, rows, padded, values, type};
    c.is_again = !backward && layer.find(".blocks.") != std::string::npos;
    list.push_back(c);
  }

  bool is_split(const std::string& weight) const { return sharding.weight(weight).split; }
  bool parts(const std::string& stack) const {  // whether ranks hold parts of the stream
    return sharding.activation(stack + ".stream").split;
  }
  static Rows rows_of(const std::string& stack) {
    return stack == "encoder" ? Rows::kText : Rows::kTokens;
  }

  /// From the stream to what a layer reads.
  void input(const std::string& layer, const std::string& stack, bool is_layer_split) {
    const Rows rows = rows_of(stack);
    if (parts(stack)) {
      add(layer, "all_gather", false, rows, true, config.width);
      if (is_layer_split) add(layer, "reduce_scatter", true, rows, true, config.width);
    } else if (is_layer_split) {
      add(layer, "all_reduce", true, rows, false, config.width);
    }
  }

  /// From what a layer gives to the stream.
  void output(const std::string& layer, const std::string& stack) {
    const Rows rows = rows_of(stack);
    const bool is_layer_split = is_split(layer + ".weight");
    if (parts(stack)) {
      if (is_layer_split) {
        add(layer, "reduce_scatter", false, rows, true, config.width);
        add(layer, "all_reduce", true, Rows::kNone, false, config.width, Type::kWeights);
      }
      add(layer, "all_gather", true, rows, true, config.width);
    } else if (is_layer_split) {
      add(layer, "all_reduce", false, rows, false, config.width);
    }
  }

  void norm(const std::string& layer, const std::string& stack) {
    if (parts(stack))
      add(layer, "all_reduce", true, Rows::kNone, false, 2 * config.width, Type::kWeights);
  }

  void self_attention(const std::string& name, const std::string& stack) {
    norm(name + ".norm", stack);
    const bool is_layer_split = is_split(name + ".qkv.weight");
    input(name + ".qkv", stack, is_layer_split);
    if (config.attention_output) return output(name + ".out", stack);
    if (is_layer_split && parts(stack)) {
      for (const bool backward : {false, true})
        add(name, "all_to_all", backward, rows_of(stack), true, config.width);
    } else if (is_layer_split) {
      add(name, "all_gather", false, rows_of(stack), false, config.width);
    } else if (parts(stack)) {
      add(name, "all_gather", true, rows_of(stack), true, config.width);
    }
  }

  void block(const std::string& name, const std::string& stack, bool is_sparse) {
    self_attention(name + ".attention", stack);
    if (stack == "decoder" && config.text_depth > 0) {
      norm(name + ".cross.norm", stack);
      input(name + ".cross.q", stack, is_split(name + ".cross.q.weight"));
      output(name + ".cross.out", stack);
    }
    norm(name + ".feed_forward.norm", stack);
    if (is_sparse) {  // experts: expert_parallel.h has those of their own axis
      const std::string layer = name + ".feed_forward.experts";
      input(layer, stack, /*is_layer_split=*/false);
      if (parts(stack))
        add(layer, "all_gather", true, rows_of(stack), true, config.width, Type::kResidual);
      return;
    }
    input(name + ".feed_forward.up", stack, is_split(name + ".feed_forward.up.weight"));
    output(name + ".feed_forward.down", stack);
  }

  void stack(const std::string& name, int64_t depth) {
    if (parts(name)) {
      add(name + ".input", "all_gather", true, rows_of(name), true, config.width, Type::kResidual);
    }
    for (int64_t i = 0; i < depth; ++i) {
      const bool is_sparse = ar::has_experts(config, i) && config.routing != "static";
      block(concat(name, ".blocks.", i), name, is_sparse);
    }
    norm(name + ".norm", name);
  }

  void embedding(const std::string& table, Rows rows) {
    if (!is_split(table + ".weight")) return;
    add(table, "all_reduce", false, rows, false, config.width, Type::kWeights);
  }

  void model() {
    if (config.text_depth > 0) {
      embedding("text_embedding", Rows::kText);
      stack("encoder", config.text_depth);
      input("encoder.output", "encoder", sharding.activation("cross.heads").split);
    }
    embedding("token_embedding", Rows::kTokensBefore);
    stack("decoder", config.depth);
    const bool is_layer_split = is_split("softmax.weight");
    input("softmax", "decoder", is_layer_split);
    if (!is_layer_split) return;
    for (const int64_t values : {1, 2})  // the largest logit; the sum and the target's logit
      add("softmax", "all_reduce", false, Rows::kTokens, false, values, Type::kResidual);
  }
};

int64_t bytes_of(at::ScalarType type) {
  return type == at::kDouble ? 8 : type == at::kBFloat16 ? 2 : 4;
}

int64_t bytes_of(const LayerCollective& c, const PassShape& pass) {
  if (c.type == Type::kWeights) return bytes_of(pass.weights);
  if (c.type == Type::kCompute) return bytes_of(pass.compute);
  return pass.compute == at::kDouble ? 8 : 4;
}

int64_t rows_of(const LayerCollective& c, int64_t ranks, const PassShape& pass) {
  const auto padded = [&](int64_t tokens) {
    return c.is_padded ? (tokens + ranks - 1) / ranks * ranks : tokens;
  };
  switch (c.rows) {
    case Rows::kNone:
      return 1;
    case Rows::kTokens:
      return pass.batch * padded(pass.tokens);
    case Rows::kTokensBefore:
      return pass.batch * (pass.tokens - 1);
    case Rows::kText:
      return pass.batch * padded(pass.text_tokens);
  }
  fail(ErrorKind::kInternal, "layer_collectives: unknown rows");
}

/// Of one call with `bytes` in the whole tensor.
int64_t sent(const std::string& collective, int64_t bytes, int64_t ranks) {
  if (collective == "all_reduce") return 2 * (ranks - 1) * bytes / ranks;
  if (collective == "all_to_all") return bytes / ranks / ranks * (ranks - 1);
  return (ranks - 1) * (bytes / ranks);
}

}  // namespace

std::vector<LayerCollective> collectives_of(const ar::Config& config, const Sharding& sharding) {
  if (sharding.mesh.length("tensor") == 1) return {};
  Walk walk{config, sharding, {}};
  walk.model();
  return walk.list;
}

Traffic expected_traffic(const std::vector<LayerCollective>& collectives, const std::string& axis,
                         int64_t ranks, const PassShape& pass) {
  Traffic traffic;
  if (ranks == 1) return traffic;
  for (const LayerCollective& c : collectives) {
    if (c.axis != axis || (c.is_backward && !pass.is_backward)) continue;
    const int64_t times = c.is_again && pass.rematerialize && pass.is_backward ? 2 : 1;
    const int64_t rows = rows_of(c, ranks, pass);
    // The softmax layer works on some rows at a time.
    const bool is_loss = c.layer == "softmax" && c.values <= 2;
    const int64_t at_once = is_loss ? kLossRows : std::max<int64_t>(rows, 1);
    Traffic::Count& count = traffic.by_collective[c.collective];
    for (int64_t first = 0; first < rows; first += at_once) {
      const int64_t some = std::min(at_once, rows - first);
      count.calls += times;
      count.bytes += times * sent(c.collective, some * c.values * bytes_of(c, pass), ranks);
    }
  }
  return traffic;
}

std::string to_table(const std::vector<LayerCollective>& collectives) {
  std::ostringstream out;
  for (const LayerCollective& c : collectives) {
    const char* const n = c.is_padded ? "N'" : "N";
    const std::string shape = c.rows == Rows::kNone           ? concat("(", c.values, ")")
                              : c.rows == Rows::kTokensBefore ? concat("(B, N - 1, ", c.values, ")")
                              : c.rows == Rows::kText
                                  ? concat("(B, ", c.is_padded ? "m'" : "m", ", ", c.values, ")")
                                  : concat("(B, ", n, ", ", c.values, ")");
    out << std::left << std::setw(40) << c.layer << std::setw(10)
        << (c.is_backward ? "backward" : "forward") << std::setw(16) << c.collective << std::setw(8)
        << c.axis << shape << '\n';
  }
  return out.str();
}

}  // namespace lexel::parallel
