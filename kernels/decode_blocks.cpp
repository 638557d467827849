#include "kernels/decode_blocks.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>

#include "kernels/check.h"
#include "kernels/cpu/decode_blocks.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels {
namespace {

/// The kernels that a block is made of.
struct Parts {
  at::Tensor (*linear)(const at::Tensor& x, const DecodeWeights& weights,
                       const LinearDecodeOptions& options);
  at::Tensor (*attend)(const at::Tensor& q, const KvCache& cache, const at::Tensor& lengths,
                       const AttentionMask& mask);
};

constexpr int64_t kMaxRows = 16;

bool has(const DecodeLinear& linear) { return linear.weight.values.defined(); }

void check_linear(const DecodeLinear& linear, int64_t outputs, int64_t inputs, const char* what) {
  const DecodeWeights& weight = linear.weight;
  check_arg(weight.outputs == outputs && weight.inputs == inputs, "decode_blocks", "expected ",
            what, " (", outputs, ", ", inputs, "), got (", weight.outputs, ", ", weight.inputs,
            ")");
}

/// What the parts cannot see: that sizes agree between them.
void check_arguments(const at::Tensor& x, const std::vector<DecodeBlock>& blocks,
                     const std::vector<KvCache>& self, const std::vector<KvCache>& cross,
                     const DecodeRows& rows, const DecodeShare& share = {}) {
  const char* const name = "decode_blocks";
  check_arg(x.defined() && rows.positions.defined(), name,
            "expected x and positions, got an undefined tensor");
  check_arg(x.scalar_type() == at::kFloat && x.dim() == 3 && x.is_contiguous(), name,
            "expected contiguous float32 x (n, B, D), got ", x.scalar_type(), " ", x.sizes());
  const int64_t steps = x.size(0), batch = x.size(1), width = x.size(2);
  const int64_t own = share.own(width);
  check_arg(steps * batch <= kMaxRows, name, "expected at most ", kMaxRows, " rows, got ", steps,
            " of ", batch);
  check_arg(self.size() == blocks.size(), name, "expected a cache for each of ", blocks.size(),
            " blocks, got ", self.size());
  const at::Tensor& positions = rows.positions;
  check_arg(positions.scalar_type() == at::kLong && positions.is_contiguous() &&
                positions.sizes() == x.sizes().slice(0, 2),
            name, "expected contiguous int64 positions (", steps, ", ", batch, "), got ",
            positions.scalar_type(), " ", positions.sizes());
  for (size_t i = 0; i < blocks.size(); ++i) {
    const DecodeBlock& block = blocks[i];
    check_arg(self[i].keys.defined() && self[i].keys.dim() == 4, name,
              "expected a cache (B, H, T, d) in block ", i);
    const int64_t head = self[i].keys.size(3), heads = share.own(width / head) * head;
    check_arg(width % head == 0 && self[i].keys.size(1) * head == heads, name,
              "expected a cache whose heads fill width ", heads, " in block ", i);
    check_arg(block.activation <= Activation::kRelu, name, "expected no gated activation");
    check_linear(block.qkv, 3 * heads, width, "qkv");
    if (has(block.out)) check_linear(block.out, own, width, "out");
    if (has(block.up)) {
      const int64_t hidden = block.down.weight.inputs;
      check_linear(block.up, share.own(hidden), width, "up");
      check_linear(block.down, own, hidden, "down");
    }
    if (!has(block.cross_q)) continue;
    check_linear(block.cross_q, heads, width, "cross_q");
    check_linear(block.cross_out, own, width, "cross_out");
    check_arg(
        i < cross.size() && cross[i].keys.defined() && cross[i].keys.dim() == 4 &&
            cross[i].keys.size(1) * cross[i].keys.size(3) == heads && cross[i].keys.size(3) == head,
        name, "expected a cross-attention cache whose heads fill width ", heads, " in block ", i);
  }
}

/// What the parts check, for the code that goes without them: everything lies on the CPU as plain float32 and whole caches.
void check_vector(const at::Tensor& vector, int64_t size, const char* what) {
  if (!vector.defined()) return;
  check_arg(vector.scalar_type() == at::kFloat && vector.is_cpu() && vector.dim() == 1 &&
                vector.size(0) == size && vector.is_contiguous(),
            "decode_blocks", "expected a contiguous float32 ", what, " of size ", size,
            " on the CPU, got ", vector.scalar_type(), " ", vector.sizes(), " on ",
            vector.device());
}

void check_norm(const DecodeNorm& norm, int64_t width) {
  check_arg(norm.weight.defined() || !norm.bias.defined(), "decode_blocks",
            "expected a norm weight with the norm bias, got none");
  check_vector(norm.weight, width, "norm weight");
  check_vector(norm.bias, width, "norm bias");
}

void check_on_cpu(const DecodeLinear& linear, const char* what) {
  if (!has(linear)) return;
  check_arg(linear.weight.values.is_cpu(), "decode_blocks", "expected ", what,
            " on the CPU, got it on ", linear.weight.values.device());
  check_vector(linear.bias, linear.weight.outputs, "bias");
}

/// A cache of `batch` rows, and numbers (…, batch) in 0..last beside it.
void check_on_cpu(const KvCache& cache, int64_t batch, const at::Tensor& numbers, int64_t last,
                  const char* what) {
  const char* const name = "decode_blocks";
  const at::Tensor &keys = cache.keys, &values = cache.values;
  const at::ScalarType dtype = keys.scalar_type();
  check_arg(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kChar, name,
            "expected a float32, bfloat16 or int8 cache, got ", dtype);
  check_arg(keys.is_cpu() && keys.is_contiguous() && keys.size(0) == batch &&
                keys.size(3) % 8 == 0 && keys.size(3) <= 128 && values.defined() &&
                values.is_cpu() && values.is_contiguous() && values.scalar_type() == dtype &&
                values.sizes() == keys.sizes(),
            name, "expected a contiguous cache (", batch,
            ", H, T, d) on the CPU, d a multiple of 8 up to 128, got ", keys.sizes());
  for (const at::Tensor& scales : {cache.key_scales, cache.value_scales}) {
    check_arg(scales.defined() == (dtype == at::kChar), name, "expected scales of an int8 cache");
    if (!scales.defined()) continue;
    check_arg(scales.is_cpu() && scales.scalar_type() == at::kFloat && scales.is_contiguous() &&
                  scales.sizes() == keys.sizes().slice(0, 3),
              name, "expected float32 scales (B, H, T) beside an int8 cache, got others");
  }
  check_arg(numbers.defined() && numbers.is_cpu() && numbers.scalar_type() == at::kLong &&
                numbers.is_contiguous() && numbers.dim() >= 1 && numbers.size(-1) == batch,
            name, "expected contiguous int64 ", what, " of ", batch, " rows on the CPU");
  const int64_t* const values_of = numbers.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < numbers.numel(); ++i) {
    check_arg(values_of[i] >= 0 && values_of[i] <= last, name, "expected ", what, " in 0..", last,
              ", got ", values_of[i]);
  }
}

void check_on_cpu(const DecodeBlock& block, const KvCache& self, const KvCache* cross,
                  const at::Tensor& x, const DecodeRows& rows) {
  const int64_t batch = x.size(1), width = x.size(2);
  check_norm(block.self_norm, width);
  check_norm(block.cross_norm, width);
  check_norm(block.feed_forward_norm, width);
  check_on_cpu(block.qkv, "qkv");
  check_on_cpu(block.out, "out");
  check_on_cpu(block.cross_q, "cross_q");
  check_on_cpu(block.cross_out, "cross_out");
  check_on_cpu(block.up, "up");
  check_on_cpu(block.down, "down");
  validate(block.mask, "decode_blocks");
  check_on_cpu(self, batch, rows.positions, self.keys.size(2) - 1, "positions");
  if (!has(block.cross_q)) return;
  check_on_cpu(*cross, batch, rows.text_lengths, cross->keys.size(2), "text lengths");
}

LinearDecodeOptions options_of(const DecodeNorm& norm, const DecodeLinear& linear, double epsilon) {
  LinearDecodeOptions options;
  options.norm_weight = norm.weight;
  options.norm_bias = norm.bias;
  options.norm_epsilon = epsilon;
  options.bias = linear.bias;
  return options;
}

/// x (R, D) += out(y), or y itself.
at::Tensor add_heads(const at::Tensor& x, const at::Tensor& y, const DecodeLinear& out,
                     const Parts& parts, const DecodeShare& share) {
  if (!has(out)) return x.add(y);
  LinearDecodeOptions options;
  options.bias = out.bias;
  options.residual = share.own(x);
  return share.whole(parts.linear(y, out.weight, options), x.size(1));
}

/// Queries (n, B, H, d), those of one step at a time.
at::Tensor attend_steps(const at::Tensor& q, const KvCache& cache,
                        const std::vector<at::Tensor>& lengths, const AttentionMask& mask,
                        const Parts& parts) {
  if (q.size(0) == 1) return parts.attend(q[0], cache, lengths[0], mask);
  std::vector<at::Tensor> steps;
  for (int64_t j = 0; j < q.size(0); ++j) {
    steps.push_back(parts.attend(q[j], cache, lengths[static_cast<size_t>(j)], mask));
  }
  return at::cat(steps);  // (n B, H, d)
}

at::Tensor compose(const at::Tensor& input, const std::vector<DecodeBlock>& blocks,
                   std::vector<KvCache>& self, const std::vector<KvCache>& cross,
                   const DecodeRows& rows, const Parts& parts, const DecodeShare& share = {}) {
  check_arguments(input, blocks, self, cross, rows, share);
  const at::NoGradGuard no_grad;
  const int64_t steps = input.size(0), batch = input.size(1), width = input.size(2);
  const int64_t num_rows = steps * batch;
  if (num_rows == 0) return at::empty(input.sizes(), input.options());
  std::vector<at::Tensor> lengths;  // (B) each: keys that a step sees
  for (int64_t j = 0; j < steps; ++j) lengths.push_back(rows.positions[j].add(1));
  const std::vector<at::Tensor> text_lengths(static_cast<size_t>(steps), rows.text_lengths);
  at::Tensor x = input.view({num_rows, width});
  for (size_t i = 0; i < blocks.size(); ++i) {
    const DecodeBlock& block = blocks[i];
    const int64_t heads = self[i].keys.size(1), head = self[i].keys.size(3);  // own heads
    const auto all_heads = [&](const at::Tensor& heard) {
      return share.whole(heard.view({num_rows, heads * head}), width / head, head);
    };
    const at::Tensor qkv =
        parts
            .linear(x, block.qkv.weight, options_of(block.self_norm, block.qkv, block.norm_epsilon))
            .view({steps, batch, 3, heads, head});
    for (int64_t j = 0; j < steps; ++j) {
      append_(self[i], qkv[j].select(1, 1), qkv[j].select(1, 2), rows.positions[j]);
    }
    at::Tensor heard = attend_steps(qkv.select(2, 0), self[i], lengths, block.mask, parts);
    x = add_heads(x, all_heads(heard), block.out, parts, share);
    if (has(block.cross_q)) {
      const at::Tensor q =
          parts
              .linear(x, block.cross_q.weight,
                      options_of(block.cross_norm, block.cross_q, block.norm_epsilon))
              .view({steps, batch, heads, head});
      heard = attend_steps(q, cross[i], text_lengths, AttentionMask::full(), parts);
      x = add_heads(x, all_heads(heard), block.cross_out, parts, share);
    }
    if (!has(block.up)) continue;
    LinearDecodeOptions up = options_of(block.feed_forward_norm, block.up, block.norm_epsilon);
    up.activation = block.activation;
    const at::Tensor hidden =
        share.whole(parts.linear(x, block.up.weight, up), block.down.weight.inputs);
    x = add_heads(x, hidden, block.down, parts, share);
  }
  return x.view({steps, batch, width});
}

const float* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

cpu::LinearProblem pointers_of(const DecodeLinear& linear, const DecodeNorm& norm, double epsilon,
                               Activation activation) {
  cpu::LinearProblem problem{};
  if (!has(linear)) return problem;
  const DecodeWeights& weight = linear.weight;
  problem.format = weight.format;
  problem.outputs = weight.outputs;
  problem.inputs = weight.inputs;
  problem.group = weight.group;
  problem.values = weight.values.const_data_ptr();
  problem.scales = data_or_null(weight.scales);
  problem.norm_weight = data_or_null(norm.weight);
  problem.norm_bias = data_or_null(norm.bias);
  problem.norm_epsilon = static_cast<float>(epsilon);
  problem.bias = data_or_null(linear.bias);
  problem.activation = activation;
  return problem;
}

cpu::CachePointers pointers_of(const KvCache& cache) {
  const bool scaled = cache.key_scales.defined();
  const at::ScalarType dtype = cache.keys.scalar_type();
  return {dtype == at::kFloat      ? cpu::CacheFormat::kFloat32
          : dtype == at::kBFloat16 ? cpu::CacheFormat::kBFloat16
                                   : cpu::CacheFormat::kInt8,
          cache.keys.mutable_data_ptr(),
          cache.values.mutable_data_ptr(),
          scaled ? cache.key_scales.mutable_data_ptr<float>() : nullptr,
          scaled ? cache.value_scales.mutable_data_ptr<float>() : nullptr,
          cache.keys.size(1),
          cache.keys.size(2),
          cache.keys.size(3)};
}

cpu::BlockProblem pointers_of(const DecodeBlock& block, const KvCache& self, const KvCache* cross) {
  const double epsilon = block.norm_epsilon;
  cpu::BlockProblem problem;
  problem.qkv = pointers_of(block.qkv, block.self_norm, epsilon, Activation::kNone);
  problem.out = pointers_of(block.out, {}, epsilon, Activation::kNone);
  problem.cross_q = pointers_of(block.cross_q, block.cross_norm, epsilon, Activation::kNone);
  problem.cross_out = pointers_of(block.cross_out, {}, epsilon, Activation::kNone);
  problem.up = pointers_of(block.up, block.feed_forward_norm, epsilon, block.activation);
  problem.down = pointers_of(block.down, {}, epsilon, Activation::kNone);
  problem.self = pointers_of(self);
  if (has(block.cross_q)) problem.cross = pointers_of(*cross);
  problem.mask = block.mask;
  return problem;
}

}  // namespace

at::Tensor DecodeShare::own(const at::Tensor& x) const {
  return x.narrow(1, first(x.size(1)), own(x.size(1))).contiguous();
}

at::Tensor DecodeShare::whole(const at::Tensor& part, int64_t units, int64_t unit) const {
  if (ranks == 1) return part;
  if (units % ranks == 0) return gather(part);
  const int64_t most = (units + ranks - 1) / ranks * unit;  // columns of the largest part
  const at::Tensor all = gather(at::constant_pad_nd(part, {0, most - part.size(1)}));
  std::vector<at::Tensor> parts;
  for (int64_t r = 0; r < ranks; ++r)
    parts.push_back(all.narrow(1, r * most, DecodeShare{r, ranks, {}}.own(units) * unit));
  return at::cat(parts, 1);
}

at::Tensor decode_blocks(const at::Tensor& x, const std::vector<DecodeBlock>& blocks,
                         std::vector<KvCache>& self, const std::vector<KvCache>& cross,
                         const DecodeRows& rows) {
  if (cuda_kernels_for(x) != nullptr) return decode_blocks_by_parts(x, blocks, self, cross, rows);
  check_arguments(x, blocks, self, cross, rows);
  check_arg(x.is_cpu(), "decode_blocks", "expected x on the CPU or CUDA, got it on ", x.device());
  const auto cross_of = [&](size_t i) { return i < cross.size() ? &cross[i] : nullptr; };
  for (size_t i = 0; i < blocks.size(); ++i) {
    check_on_cpu(blocks[i], self[i], cross_of(i), x, rows);
  }
  const at::NoGradGuard no_grad;
  at::Tensor result = x.clone();
  if (x.numel() == 0) return result;
  cpu::BlocksProblem problem;
  problem.steps = x.size(0);
  problem.batch = x.size(1);
  problem.width = x.size(2);
  problem.positions = rows.positions.const_data_ptr<int64_t>();
  problem.text_lengths =
      rows.text_lengths.defined() ? rows.text_lengths.const_data_ptr<int64_t>() : nullptr;
  problem.x = result.mutable_data_ptr<float>();
  problem.blocks.reserve(blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    problem.blocks.push_back(pointers_of(blocks[i], self[i], cross_of(i)));
  }
  cpu::decode_blocks(problem);
  return result;
}

at::Tensor decode_blocks_by_parts(const at::Tensor& x, const std::vector<DecodeBlock>& blocks,
                                  std::vector<KvCache>& self, const std::vector<KvCache>& cross,
                                  const DecodeRows& rows, const DecodeShare& share) {
  return compose(x, blocks, self, cross, rows, {linear_decode, decode_attention}, share);
}

at::Tensor decode_blocks_reference(const at::Tensor& x, const std::vector<DecodeBlock>& blocks,
                                   std::vector<KvCache>& self, const std::vector<KvCache>& cross,
                                   const DecodeRows& rows) {
  return compose(x, blocks, self, cross, rows,
                 {linear_decode_reference, decode_attention_reference});
}

}  // namespace lexel::kernels
