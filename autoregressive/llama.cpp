#include "autoregressive/llama.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <utility>

#include "kernels/attention.h"
#include "kernels/check.h"
#include "kernels/machine.h"

namespace lexel::ar {
namespace {

constexpr int64_t kFewRows = 16;  // what linear_decode takes

LlamaMatrix pack_matrix(at::Tensor& weight, LlamaPrecision precision) {
  LlamaMatrix packed;
  if (precision == LlamaPrecision::kFast) {
    const int64_t group = weight.size(1) % 32 == 0 ? 32 : 0;
    packed.packed = kernels::pack_weights(weight.contiguous(), kernels::WeightFormat::kInt8, group);
    packed.plain = weight.to(at::kBFloat16);
  } else {
    packed.plain = weight.contiguous();
  }
  weight.reset();
  return packed;
}

at::Tensor root_mean_square_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x * x.square().mean(-1, true).add(epsilon).rsqrt() * weight;
}

/// activation(norm(x) W^T) + residual; norm and residual where they are defined. Few rows by linear_decode.
at::Tensor apply(const LlamaMatrix& matrix, const at::Tensor& x, const at::Tensor& norm,
                 double epsilon, bool gated, const at::Tensor& residual) {
  if (matrix.packed.values.defined() && x.size(0) <= kFewRows) {
    kernels::LinearDecodeOptions options;
    options.norm_weight = norm;
    options.norm_epsilon = epsilon;
    options.activation = gated ? kernels::Activation::kGatedSilu : kernels::Activation::kNone;
    options.residual = residual;
    return kernels::linear_decode(x.contiguous(), matrix.packed, options);
  }
  const at::Tensor in = norm.defined() ? root_mean_square_norm(x, norm, epsilon) : x;
  at::Tensor y = at::linear(in.to(matrix.plain.scalar_type()), matrix.plain).to(at::kFloat);
  if (gated) {
    const int64_t half = y.size(1) / 2;
    y = at::silu(y.slice(1, 0, half)) * y.slice(1, half);
  }
  return residual.defined() ? y.add_(residual) : y;
}

}  // namespace

void validate(const LlamaConfig& config) {
  const auto size = [](int64_t value, const char* field) {
    check(value >= 1 && value <= 1 << 20, ErrorKind::kBadData, "llama: ", field, " is ", value,
          ", expected 1..", 1 << 20);
  };
  size(config.vocabulary, "vocabulary");
  size(config.width, "width");
  size(config.hidden, "hidden");
  size(config.depth, "depth");
  size(config.heads, "heads");
  size(config.key_heads, "key_heads");
  size(config.context, "context");
  check(config.width % config.heads == 0 && config.heads % config.key_heads == 0,
        ErrorKind::kBadData, "llama: width ", config.width, ", heads ", config.heads,
        " and key_heads ", config.key_heads, " do not divide");
  const int64_t head = config.width / config.heads;
  check(head % 8 == 0 && head >= 8 && head <= 128, ErrorKind::kBadData, "llama: heads of width ",
        head, ", expected a multiple of 8 in 8..128");
  check(std::isfinite(config.rope_base) && config.rope_base > 0, ErrorKind::kBadData,
        "llama: rope_base is ", config.rope_base);
  check(std::isfinite(config.norm_epsilon) && config.norm_epsilon > 0, ErrorKind::kBadData,
        "llama: norm_epsilon is ", config.norm_epsilon);
}

PackedLlama pack(Llama model, LlamaPrecision precision) {
  validate(model.config);
  const at::NoGradGuard no_grad;
  PackedLlama packed{model.config, precision, {}, {}, model.norm, {}};
  for (LlamaBlock& block : model.blocks) {
    packed.blocks.push_back({block.attention_norm, block.feed_forward_norm,
                             pack_matrix(block.qkv, precision), pack_matrix(block.out, precision),
                             pack_matrix(block.gate_up, precision),
                             pack_matrix(block.down, precision)});
  }
  const bool tied = model.head.is_same(model.embedding);
  packed.head = pack_matrix(model.head, precision);
  packed.embedding = tied ? packed.head.plain : model.embedding.to(packed.head.plain.scalar_type());
  return packed;
}

LlamaDecoder::LlamaDecoder(const PackedLlama& model, int64_t capacity)
    : model_(model), capacity_(capacity) {
  const LlamaConfig& config = model.config;
  check_arg(capacity >= 1, "ar::LlamaDecoder", "expected room for at least 1 token, got ",
            capacity);
  const at::ScalarType dtype =
      model.precision == LlamaPrecision::kFast ? at::kBFloat16 : at::kFloat;
  const int64_t head = config.width / config.heads;
  int64_t needed = 0;
  const bool fits = !__builtin_mul_overflow(
      2 * config.depth * config.key_heads * head * static_cast<int64_t>(c10::elementSize(dtype)),
      capacity, &needed);
  const int64_t available = kernels::available_memory_bytes();
  check(fits && needed <= available, ErrorKind::kUnsupported, "a text of ", capacity,
        " tokens needs ", needed, " bytes for its keys and values, ", available,
        " are available: ask for a shorter context");
  for (int64_t i = 0; i < config.depth; ++i)
    caches_.push_back(kernels::make_kv_cache(1, config.key_heads, capacity, head, dtype, at::kCPU));

  const at::Tensor rates =  // base^(-2 i / d)
      at::pow(config.rope_base,
              at::arange(head / 2, at::kDouble).mul(-2.0 / static_cast<double>(head)));
  const at::Tensor angles_rad = at::arange(capacity, at::kDouble).unsqueeze(1) * rates;
  cosines_ = angles_rad.cos().to(at::kFloat);
  sines_ = angles_rad.sin().to(at::kFloat);
}

void LlamaDecoder::rewind(int64_t length) {
  check_arg(length >= 0 && length <= length_, "ar::LlamaDecoder", "expected 0..", length_,
            " tokens to keep, got ", length);
  length_ = length;
}

at::Tensor LlamaDecoder::attend(const at::Tensor& qkv, kernels::KvCache& cache,
                                const at::Tensor& positions, const at::Tensor& mask) const {
  const LlamaConfig& config = model_.config;
  const int64_t n = qkv.size(0), head = config.width / config.heads;
  const int64_t queries = config.heads, groups = config.key_heads, per_group = queries / groups;
  const at::Tensor rows = qkv.view({n, queries + 2 * groups, head});

  // Rotary positions on queries and keys: pairs (a, b) turn by position times rate.
  const at::Tensor cosine = cosines_.index_select(0, positions).unsqueeze(1);  // (n, 1, d / 2)
  const at::Tensor sine = sines_.index_select(0, positions).unsqueeze(1);
  const at::Tensor pairs =
      rows.slice(1, 0, queries + groups).unflatten(-1, {head / 2, 2});  // (n, H + G, d / 2, 2)
  const at::Tensor a = pairs.select(-1, 0), b = pairs.select(-1, 1);
  const at::Tensor turned =
      at::stack({a * cosine - b * sine, a * sine + b * cosine}, -1).flatten(-2);
  const at::ScalarType dtype = cache.keys.scalar_type();
  const at::Tensor q = turned.slice(1, 0, queries);                            // (n, H, d) float32
  const at::Tensor k = turned.slice(1, queries).transpose(0, 1).unsqueeze(0);  // (1, G, n, d)
  const at::Tensor v = rows.slice(1, queries + groups).transpose(0, 1).unsqueeze(0);
  cache.keys.slice(2, length_, length_ + n).copy_(k);
  cache.values.slice(2, length_, length_ + n).copy_(v);

  if (n == 1 && !mask.defined()) {
    const at::Tensor seen = at::empty({1}, at::kLong).fill_(length_ + 1);
    return kernels::decode_attention(q, cache, seen).reshape({n, queries * head});
  }
  const at::Tensor heads_first = q.transpose(0, 1).unsqueeze(0).to(dtype);  // (1, H, n, d)
  if (!mask.defined()) {
    const at::Tensor out =
        kernels::attention(heads_first, k.to(dtype), v.to(dtype), kernels::AttentionMask::causal());
    return out.transpose(1, 2).reshape({n, queries * head}).to(at::kFloat);
  }
  const at::Tensor keys = cache.keys.slice(2, 0, length_ + n);  // (1, G, T, d)
  const at::Tensor values = cache.values.slice(2, 0, length_ + n);
  // The queries of a group, one after the other, read one key head.
  const at::Tensor grouped = heads_first.reshape({1, groups, per_group * n, head});
  const at::Tensor out =
      at::scaled_dot_product_attention(grouped, keys, values, mask.repeat({per_group, 1}));
  return out.reshape({queries, n, head})
      .transpose(0, 1)
      .reshape({n, queries * head})
      .to(at::kFloat);
}

at::Tensor LlamaDecoder::run(const std::vector<int64_t>& tokens, const at::Tensor& positions,
                             const at::Tensor& mask) {
  const LlamaConfig& config = model_.config;
  const auto n = static_cast<int64_t>(tokens.size());
  check_arg(n >= 1 && n <= capacity_ - length_, "ar::LlamaDecoder", "expected 1 to ",
            capacity_ - length_, " more tokens after ", length_, ", got ", n);
  const at::Tensor ids = at::empty({n}, at::kLong);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t id = tokens[static_cast<size_t>(i)];
    check(id >= 0 && id < config.vocabulary, ErrorKind::kBadData, "ar::LlamaDecoder: id ", id,
          " of a vocabulary of ", config.vocabulary);
    ids.data_ptr<int64_t>()[i] = id;
  }
  at::Tensor x = model_.embedding.index_select(0, ids).to(at::kFloat);  // (n, D)
  for (size_t i = 0; i < model_.blocks.size(); ++i) {
    const PackedLlamaBlock& block = model_.blocks[i];
    const at::Tensor qkv =
        apply(block.qkv, x, block.attention_norm, config.norm_epsilon, false, {});
    x = apply(block.out, attend(qkv, caches_[i], positions, mask), {}, 0, false, x);
    const at::Tensor hidden =
        apply(block.gate_up, x, block.feed_forward_norm, config.norm_epsilon, true, {});
    x = apply(block.down, hidden, {}, 0, false, x);
  }
  return root_mean_square_norm(x, model_.norm, config.norm_epsilon);
}

at::Tensor LlamaDecoder::feed(const std::vector<int64_t>& tokens) {
  const at::NoGradGuard no_grad;
  const auto n = static_cast<int64_t>(tokens.size());
  const at::Tensor positions = at::arange(length_, length_ + n, at::kLong);
  at::Tensor mask;  // (n, T) bool: where some text is there already and more than one token follows
  if (length_ > 0 && n > 1) {
    mask = at::ones({n, length_ + n}, at::kBool).tril_(length_);
  }
  const at::Tensor hidden = run(tokens, positions, mask);
  length_ += n;
  return logits(hidden.slice(0, n - 1)).squeeze(0);
}

at::Tensor LlamaDecoder::look_ahead(const std::vector<int64_t>& tokens,
                                    const std::vector<int64_t>& parents) {
  const at::NoGradGuard no_grad;
  const auto n = static_cast<int64_t>(tokens.size());
  check_arg(parents.size() == tokens.size() && n >= 1 && n <= capacity_ - length_,
            "ar::LlamaDecoder", "expected 1 to ", capacity_ - length_,
            " tokens with a parent each, got ", n, " and ", parents.size());
  const at::Tensor positions = at::empty({n}, at::kLong);
  const at::Tensor nodes = at::zeros({n, n}, at::kBool);  // which nodes a node sees
  int64_t* const position = positions.data_ptr<int64_t>();
  for (int64_t i = 0; i < n; ++i) {
    const int64_t parent = parents[static_cast<size_t>(i)];
    check_arg(parent >= -1 && parent < i, "ar::LlamaDecoder", "expected an earlier node before ", i,
              ", got ", parent);
    position[i] = parent < 0 ? length_ : position[parent] + 1;
    if (parent >= 0) nodes[i].copy_(nodes[parent]);
    nodes[i][i].fill_(true);
  }
  return run(tokens, positions, at::cat({at::ones({n, length_}, at::kBool), nodes}, 1));
}

at::Tensor LlamaDecoder::logits(const at::Tensor& hidden) const {
  const at::NoGradGuard no_grad;
  return apply(model_.head, hidden, {}, 0, false, {});
}

}  // namespace lexel::ar
