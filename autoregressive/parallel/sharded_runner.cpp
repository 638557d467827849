#include "autoregressive/parallel/sharded_runner.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/stack.h>
#include <utility>

#include "autoregressive/dropout.h"
#include "autoregressive/parallel/differentiable.h"
#include "autoregressive/parallel/vocabulary_loss.h"
#include "autoregressive/softmax_loss.h"
#include "kernels/check.h"

namespace lexel::parallel {
namespace {

/// x (B, N, D) with N rounded up to a multiple of the ranks.
at::Tensor padded(const at::Tensor& x, int64_t ranks) {
  const int64_t missing = (ranks - x.size(1) % ranks) % ranks;
  return missing == 0 ? x : at::constant_pad_nd(x, {0, 0, 0, missing});
}

at::Tensor product(const at::Tensor& weight, const at::Tensor& x) {
  return at::linear(x, weight.to(x.scalar_type()));
}

}  // namespace

ShardedRunner::ShardedRunner(Sharding sharding, Mesh& mesh)
    : sharding_(std::move(sharding)), group_(mesh.along("tensor")) {
  check_arg(sharding_.mesh.length("tensor") == group_.size(), "ShardedRunner",
            "axis tensor: expected ", sharding_.mesh.length("tensor"), " ranks, got ",
            group_.size());
}

bool ShardedRunner::has_parts(const std::string& name) const {
  return sharding_.activation(name.substr(0, name.find('.')) + ".stream").split;
}

bool ShardedRunner::is_split(const std::string& layer) const {
  return sharding_.weight(layer + ".weight").split;
}

at::Tensor ShardedRunner::own_tokens(const at::Tensor& x) const {
  return split(padded(x, group_.size()), 1, group_);
}

at::Tensor ShardedRunner::read(const at::Tensor& x, const std::string& name, int64_t tokens,
                               bool is_layer_split) const {
  if (!has_parts(name)) return is_layer_split ? copy(x, group_) : x;
  return (is_layer_split ? gather(x, 1, group_) : gather_equal(x, 1, group_)).narrow(1, 0, tokens);
}

at::Tensor ShardedRunner::embedding(const at::Tensor& table, const std::string& name,
                                    const at::Tensor& ids) const {
  if (name == "start" || !is_split(name)) return at::embedding(table, ids);
  const at::Tensor place = ids - group_.rank() * table.size(0);
  const at::Tensor is_own = place.ge(0).logical_and(place.lt(table.size(0)));
  const at::Tensor rows = at::embedding(table, place.clamp(0, table.size(0) - 1));
  return reduce(rows * is_own.unsqueeze(-1).to(rows.scalar_type()), group_);
}

at::Tensor ShardedRunner::enter(const at::Tensor& x, const std::string& stack) const {
  return has_parts(stack) ? own_tokens(x) : x;
}

at::Tensor ShardedRunner::leave(const at::Tensor& x, const std::string& stack,
                                int64_t tokens) const {
  return read(x, stack, tokens, sharding_.activation("cross.heads").split);
}

at::Tensor ShardedRunner::whole(const at::Tensor& x, const std::string& stack,
                                int64_t tokens) const {
  return read(x, stack, tokens, /*is_layer_split=*/false);
}

at::Tensor ShardedRunner::norm(const ar::LayerNorm& layer, const std::string& name,
                               const at::Tensor& x, at::ScalarType compute) const {
  if (!has_parts(name)) return ar::apply_norm(layer, x, compute);
  // Of each rank's tokens: partial gradients, summed in one all-reduce.
  const at::Tensor both = copy(at::stack({layer.weight, layer.bias}), group_);  // (2, D)
  return ar::apply_norm({both[0], both[1]}, x, compute);
}

at::Tensor ShardedRunner::linear(const ar::Linear& layer, const std::string& name,
                                 const at::Tensor& x, int64_t tokens) const {
  const bool is_layer_split = is_split(name);
  const bool gives_stream = name.ends_with(".out") || name.ends_with(".down");
  if (name.ends_with(".kv")) return ar::apply_linear(layer, x);  // its input has left its stream
  if (!gives_stream) return ar::apply_linear(layer, read(x, name, tokens, is_layer_split));
  const bool parts = has_parts(name);
  if (!is_layer_split) {
    const at::Tensor y = ar::apply_linear(layer, x);
    return parts ? own_tokens(y) : y;
  }
  // The bias once, behind the sum.
  const at::Tensor y = product(layer.weight, x);
  const at::ScalarType type = x.scalar_type();
  if (!parts) return reduce(y, group_) + layer.bias.to(type);
  return scatter_sum(padded(y, group_.size()), 1, group_) + copy(layer.bias, group_).to(type);
}

at::Tensor ShardedRunner::join(const at::Tensor& heads, const std::string& name) const {
  const bool parts = has_parts(name), are_split = sharding_.activation(name + ".heads").split;
  if (!are_split) return parts ? own_tokens(heads) : heads;
  if (!parts) return gather_equal(heads, 2, group_);
  // From (B, N, D / n) to (B, N / n, D): rank j gets its tokens of everybody's heads.
  const int64_t ranks = group_.size();
  const at::Tensor x = padded(heads, ranks);
  const at::Tensor by_rank =  // (n, B, N / n, D / n)
      x.reshape({x.size(0), ranks, x.size(1) / ranks, x.size(2)}).transpose(0, 1).contiguous();
  return all_to_all(by_rank, group_).permute({1, 2, 0, 3}).flatten(2, 3);
}

at::Tensor ShardedRunner::dropout(const at::Tensor& x, const std::string& site, int64_t tokens,
                                  const ar::ForwardOptions& options) const {
  ar::DropoutPart part{.first_row = options.first_row};
  const size_t last = site.rfind('.');
  const std::string layer = site.substr(0, last), what = site.substr(last + 1);
  if (what == "output" || what == "activation") {
    const bool is_cross = layer.ends_with(".cross");
    const std::string activation = is_cross               ? "cross.heads"
                                   : what == "activation" ? layer + ".hidden"
                                                          : layer + ".heads";
    if (sharding_.activation(activation).split) {
      part.first_channel = group_.rank() * x.size(2);
      part.channels = group_.size() * x.size(2);
    }
  } else if (has_parts(site)) {
    part.first_token = group_.rank() * x.size(1);
    part.tokens = tokens;
  }
  return ar::dropout(x.contiguous(), options.dropout, options.seed, site, options.step, part);
}

at::Tensor ShardedRunner::logits(const ar::Linear& softmax, const at::Tensor& x,
                                 int64_t tokens) const {
  const bool is_layer_split = is_split("softmax");
  const at::Tensor input = read(x, "decoder", tokens, is_layer_split).flatten(0, 1);
  const at::Tensor y = ar::apply_linear(softmax, input);
  return is_layer_split ? gather_equal(y, 1, group_) : y;
}

at::Tensor ShardedRunner::softmax_loss(const ar::Linear& softmax, const at::Tensor& x,
                                       int64_t tokens, const at::Tensor& targets) const {
  const bool is_layer_split = is_split("softmax");
  const at::Tensor input = read(x, "decoder", tokens, is_layer_split).flatten(0, 1);
  return is_layer_split ? vocabulary_loss(softmax, input, targets, group_)
                        : ar::softmax_loss(softmax, input, targets);
}

at::Tensor ShardedRunner::log_likelihoods(const ar::Linear& softmax, const at::Tensor& x,
                                          int64_t tokens, const at::Tensor& targets) const {
  const bool is_layer_split = is_split("softmax");
  const at::Tensor input = read(x, "decoder", tokens, is_layer_split).flatten(0, 1);
  return is_layer_split ? vocabulary_log_likelihoods(softmax, input, targets, group_)
                        : ar::log_likelihoods(softmax, input, targets);
}

}  // namespace lexel::parallel
