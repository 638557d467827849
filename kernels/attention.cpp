#include "kernels/attention.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <cmath>
#include <limits>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/check.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/machine.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kMaxKernelWidth = 128;  // of a head, in our kernels

void check_arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionMask& mask, const at::Tensor& key_mask) {
  const char* const name = "attention";
  check_arg(q.defined() && k.defined() && v.defined(), name,
            "expected three tensors, got an undefined one");
  const at::ScalarType type = q.scalar_type();
  check_arg(type == at::kFloat || type == at::kBFloat16, name,
            "expected float32 or bfloat16, got q ", type);
  check_arg(k.scalar_type() == type && v.scalar_type() == type, name, "expected one dtype, got q ",
            type, ", k ", k.scalar_type(), " and v ", v.scalar_type());
  check_arg(q.dim() == 4 && k.dim() == 4 && k.sizes() == v.sizes(), name,
            "expected q (B, H, N, d), k and v (B, G, M, d), got ", q.sizes(), ", ", k.sizes(),
            " and ", v.sizes());
  check_arg(q.size(0) == k.size(0) && q.size(3) == k.size(3), name,
            "expected one B and one d, got q ", q.sizes(), " and k ", k.sizes());
  check_arg(q.size(3) >= 1, name, "expected a head width of at least 1, got ", q.size(3));
  check_arg(k.size(1) >= 1 && q.size(1) >= 1 && q.size(1) % k.size(1) == 0, name,
            "expected key heads that divide the query heads, got ", k.size(1), " and ", q.size(1));
  check_arg(mask.kind == AttentionMask::Kind::kFull || q.size(2) == k.size(2), name,
            "expected as many keys as queries with this mask, got ", k.size(2), " and ", q.size(2));
  check_arg(q.device() == k.device() && q.device() == v.device(), name,
            "expected one device, got q on ", q.device(), ", k on ", k.device(), " and v on ",
            v.device());
  check_arg(q.is_cpu() || q.is_cuda(), name, "expected CPU or CUDA tensors, got q on ", q.device());
  for (const at::Tensor* const x : {&q, &k, &v}) {
    check_arg(x->stride(3) == 1, name, "expected a contiguous last dimension, got strides ",
              x->strides());
  }
  validate(mask, name);
  if (!key_mask.defined()) return;
  check_arg(key_mask.scalar_type() == at::kBool && key_mask.dim() == 2 &&
                key_mask.size(0) == k.size(0) && key_mask.size(1) == k.size(2),
            name, "expected a key mask (B, M) bool, got ", key_mask.sizes(), " ",
            key_mask.scalar_type());
  check_arg(key_mask.device() == q.device(), name, "expected the key mask on ", q.device(),
            ", got it on ", key_mask.device());
}

/// The definition, in the dtype of its arguments, by ATen.
at::Tensor composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionMask& mask, const at::Tensor& key_mask) {
  const int64_t group = q.size(1) / k.size(1);
  const auto for_each_query_head = [&](const at::Tensor& x) {
    return group == 1 ? x : x.repeat_interleave(group, 1);  // (B, H, M, d)
  };
  at::Tensor hidden;  // (N, M) or (B, 1, N or 1, M)
  if (mask.kind != AttentionMask::Kind::kFull) {
    hidden = mask_table(mask, q.size(2), k.size(2)).logical_not().to(q.device());
  }
  if (key_mask.defined()) {
    const at::Tensor padding = key_mask.logical_not().unsqueeze(1).unsqueeze(1);
    hidden = hidden.defined() ? hidden.logical_or(padding) : padding;
  }
  const at::Tensor scaled = q.mul(1.0 / std::sqrt(static_cast<double>(q.size(3))));
  at::Tensor weights = at::matmul(scaled, for_each_query_head(k).transpose(2, 3));  // (B, H, N, M)
  if (hidden.defined()) {
    // No minus infinity: a row where all is hidden, and its gradient, would be NaN.
    weights = at::softmax(weights.masked_fill(hidden, -1e38), -1).masked_fill(hidden, 0.0);
  } else {
    weights = at::softmax(weights, -1);
  }
  const at::Tensor out = at::matmul(weights, for_each_query_head(v));  // (B, H, N, d)
  return out.transpose(1, 2).contiguous().transpose(1, 2);
}

/// Whether ATen's products are the faster way: bfloat16 where AMX multiplies it, at three times the rate of float32 (on a
/// Xeon 590 to 720 GFLOP/s by two cores, against 181 to 243; attention itself was not measured there). Without AMX our
/// float32 tiles win: on one thread of a Zen 5 with AVX-512 BF16, heads of 64, bfloat16, forward + backward, 32 x 4 heads of
/// 256 tokens take 43 ms against 53 of the products (SDPA 92), 8 x 8 of 512 tokens 78 against 119 (156). With 8 x 4 of 256
/// the products' time swings between 0.75 and 1.5 of ours, as the heap's memory is warm or not; forward they never win.
/// Whatever the batch is: a picture's result does not depend on the others.
bool composed_is_faster(const at::Tensor& q, const at::Tensor& k, const AttentionMask& mask,
                        const at::Tensor& key_mask) {
  constexpr int64_t kMostKeys = 1024;  // all scores are in memory
  return cpu::has_amx_bf16() && q.scalar_type() == at::kBFloat16 &&
         mask.kind == AttentionMask::Kind::kFull && !key_mask.defined() && k.size(2) <= kMostKeys;
}

/// Whether our kernel for the tensors' device takes them, and should.
bool use_kernel(const at::Tensor& q, const at::Tensor& k, const AttentionMask& mask,
                const at::Tensor& key_mask) {
  if (q.size(3) > kMaxKernelWidth) return false;
  if (cuda_kernels_for(q) != nullptr) return q.size(3) % 8 == 0;
  return !composed_is_faster(q, k, mask, key_mask);
}

AttentionForward run_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const AttentionMask& mask, const at::Tensor& key_mask) {
  if (q.numel() == 0 || k.numel() == 0) {
    constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
    const int64_t batch = q.size(0), heads = q.size(1), queries = q.size(2);
    return {at::zeros({batch, queries, heads, q.size(3)}, q.options()).transpose(1, 2),
            at::full({batch, heads, queries}, kMinusInfinity, q.options().dtype(at::kFloat))};
  }
  if (const CudaKernels* const cuda = cuda_kernels_for(q)) {
    return cuda->attention_forward(q, k, v, mask, key_mask);
  }
  return cpu::attention_forward(q, k, v, mask, key_mask);
}

AttentionGradients run_backward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k,
                                const at::Tensor& v, const AttentionForward& forward,
                                const AttentionMask& mask, const at::Tensor& key_mask) {
  if (q.numel() == 0 || k.numel() == 0) {
    return {at::zeros_like(q), at::zeros_like(k), at::zeros_like(v)};
  }
  if (const CudaKernels* const cuda = cuda_kernels_for(q)) {
    return cuda->attention_backward(grad, q, k, v, forward, mask, key_mask);
  }
  return cpu::attention_backward(grad, q, k, v, forward, mask, key_mask);
}

/// Both masks, in a type that autograd does not look into: it does not take undefined tensors.
struct Masks {
  AttentionMask by_position;
  at::Tensor keys;
};

struct AttentionFunction : torch::autograd::Function<AttentionFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const Masks& masks) {
    const AttentionMask& mask = masks.by_position;
    const AttentionForward result = run_forward(q, k, v, mask, masks.keys);
    context->save_for_backward({q, k, v, masks.keys, result.out, result.log_sum_exp});
    context->saved_data["kind"] = static_cast<int64_t>(mask.kind);
    context->saved_data["prefix"] = mask.prefix;
    context->saved_data["grid_width"] = mask.grid_width;
    context->saved_data["kernel"] = mask.kernel;
    return result.out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const auto number = [&](const char* name) { return context->saved_data[name].toInt(); };
    const AttentionMask mask{static_cast<AttentionMask::Kind>(number("kind")), number("prefix"),
                             number("grid_width"), number("kernel")};
    check(!at::GradMode::is_enabled(), ErrorKind::kUsage,
          "attention: expected a first derivative, got a backward pass that keeps its graph");
    const at::Tensor grad = grads[0].stride(3) == 1 ? grads[0] : grads[0].contiguous();
    const AttentionGradients result =
        run_backward(grad, saved[0], saved[1], saved[2], {saved[4], saved[5]}, mask, saved[3]);
    return {result.q, result.k, result.v, {}};
  }
};

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionMask& mask, const at::Tensor& key_mask) {
  check_arguments(q, k, v, mask, key_mask);
  if (!use_kernel(q, k, mask, key_mask)) return composed(q, k, v, mask, key_mask);
  const bool differentiate =
      at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  return differentiate ? AttentionFunction::apply(q, k, v, Masks{mask, key_mask})
                       : run_forward(q, k, v, mask, key_mask).out;
}

at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const AttentionMask& mask, const at::Tensor& key_mask) {
  check_arguments(q, k, v, mask, key_mask);
  const at::Tensor out =
      composed(q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble), mask, key_mask);
  return out.transpose(1, 2).to(q.scalar_type()).transpose(1, 2);
}

at::Tensor mask_table(const AttentionMask& mask, int64_t queries, int64_t keys) {
  validate(mask, "mask_table");
  at::Tensor table = at::empty({queries, keys}, at::kBool);  // (N, M)
  bool* const sees = table.mutable_data_ptr<bool>();
  for (int64_t query = 0; query < queries; ++query) {
    for (int64_t key = 0; key < keys; ++key) sees[query * keys + key] = mask.allows(query, key);
  }
  return table;
}

}  // namespace lexel::kernels
