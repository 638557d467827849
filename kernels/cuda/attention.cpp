#include "kernels/cuda/attention.h"

#include <ATen/Context.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <cstdint>
#include <tuple>

#include "kernels/check.h"
#include "kernels/cuda/attention_tiles.h"
#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {
namespace {

/// The tensor, or a copy of it where its rows are not copied in whole 16 bytes.
at::Tensor aligned(const at::Tensor& x) {
  constexpr int64_t kBytes = 16;
  bool fits = reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % kBytes == 0;
  for (int64_t i = 0; i < 3; ++i) fits = fits && x.stride(i) * x.element_size() % kBytes == 0;
  return fits ? x : x.clone(at::MemoryFormat::Contiguous);
}

AttentionInput input_of(const at::Tensor& x) {
  return {x.const_data_ptr(), x.stride(0), x.stride(1), x.stride(2)};
}

AttentionOutput output_of(const at::Tensor& x) {
  return {x.mutable_data_ptr(), x.stride(0), x.stride(1), x.stride(2)};
}

/// An empty (B, H, N, d) tensor, laid out as (B, N, H, d).
at::Tensor like(const at::Tensor& x) {
  return at::empty({x.size(0), x.size(2), x.size(1), x.size(3)}, x.options()).transpose(1, 2);
}

AttentionSizes sizes_of(const at::Tensor& q, const at::Tensor& k, const AttentionMask& mask,
                        const at::Tensor& key_mask) {
  for (const int64_t tokens : {q.size(2), k.size(2)}) {
    check_arg(tokens < TileMask::kMaxPositions, "attention", "expected fewer than ",
              TileMask::kMaxPositions, " tokens, got ", tokens);
  }
  return {q.scalar_type() == at::kBFloat16,
          q.size(0),
          q.size(1),
          k.size(1),
          q.size(2),
          k.size(2),
          q.size(3),
          mask,
          key_mask.defined() ? key_mask.const_data_ptr<bool>() : nullptr};
}

/// Where the forward pass is left to cuDNN. Published for an H100 at head width 128 and 1024 tokens (plotted by Shah et al.
/// 2024, arXiv:2407.08608): cuDNN 574 TFLOP/s full and 410 causal, where kernels built like ours have reached 250 to 400. On
/// sm_100 our kernels do not use its own matrix instructions. Not measured yet: the benchmark has our own kernel beside this.
bool cudnn_wins(const at::Tensor& q, const at::Tensor& k, const AttentionMask& mask,
                const at::Tensor& key_mask, const DeviceLimits& limits) {
  using Kind = AttentionMask::Kind;
  constexpr int64_t kFewTokens = 64;
  const bool wide_on_hopper = limits.capability == 90 && q.size(3) > 64;
  const bool on_blackwell = limits.capability / 10 == 10;
  return q.is_cuda() && (wide_on_hopper || on_blackwell) && q.scalar_type() == at::kBFloat16 &&
         (mask.kind == Kind::kFull || mask.kind == Kind::kCausal) && !key_mask.defined() &&
         q.size(1) == k.size(1) && q.size(2) >= kFewTokens && k.size(2) >= kFewTokens &&
         at::globalContext().userEnabledCuDNNSDP() && at::globalContext().hasCuDNN();
}

AttentionForward forward_by_cudnn(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const AttentionMask& mask) {
  const auto result = at::_scaled_dot_product_cudnn_attention(
      q, k, v, /*attn_bias=*/{}, /*compute_log_sumexp=*/true, /*dropout_p=*/0.0,
      /*is_causal=*/mask.kind == AttentionMask::Kind::kCausal);
  return {std::get<0>(result).transpose(1, 2).contiguous().transpose(1, 2),
          std::get<1>(result).reshape({q.size(0), q.size(1), q.size(2)})};
}

}  // namespace

AttentionForward attention_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const AttentionMask& mask, const at::Tensor& key_mask) {
  const OnDevice device(q);
  const at::Tensor queries = aligned(q), keys = aligned(k), values = aligned(v);
  const DeviceLimits limits = limits_of(q);
  if (cudnn_wins(q, k, mask, key_mask, limits)) {
    return forward_by_cudnn(queries, keys, values, mask);
  }
  const at::Tensor real_keys = key_mask.defined() ? key_mask.contiguous() : key_mask;
  const AttentionForward result{
      like(q), at::empty({q.size(0), q.size(1), q.size(2)}, q.options().dtype(at::kFloat))};
  launch_attention_forward(
      {sizes_of(q, k, mask, real_keys), input_of(queries), input_of(keys), input_of(values),
       output_of(result.out), result.log_sum_exp.mutable_data_ptr<float>(), limits.capability,
       limits.multiprocessors},
      device.stream());
  return result;
}

AttentionGradients attention_backward(const at::Tensor& grad, const at::Tensor& q,
                                      const at::Tensor& k, const at::Tensor& v,
                                      const AttentionForward& forward, const AttentionMask& mask,
                                      const at::Tensor& key_mask) {
  const OnDevice device(q);
  const at::Tensor queries = aligned(q), keys = aligned(k), values = aligned(v);
  const at::Tensor gradient = aligned(grad), out = aligned(forward.out);
  const at::Tensor log_sum_exp = forward.log_sum_exp.contiguous();
  const at::Tensor real_keys = key_mask.defined() ? key_mask.contiguous() : key_mask;
  const at::Tensor log2_sums = at::empty_like(log_sum_exp);  // (B, H, N)
  const at::Tensor deltas = at::empty_like(log_sum_exp);     // (B, H, N)
  const DeviceLimits limits = limits_of(q);
  const AttentionGradients result{like(q), like(k), like(v)};
  launch_attention_backward(
      {sizes_of(q, k, mask, real_keys), input_of(queries), input_of(keys), input_of(values),
       input_of(out), input_of(gradient), log_sum_exp.const_data_ptr<float>(),
       log2_sums.mutable_data_ptr<float>(), deltas.mutable_data_ptr<float>(), output_of(result.q),
       output_of(result.k), output_of(result.v), limits.capability, limits.multiprocessors},
      device.stream());
  return result;
}

}  // namespace lexel::kernels::cuda
