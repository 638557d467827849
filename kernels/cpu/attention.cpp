#include "kernels/cpu/attention.h"

#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <cmath>
#include <limits>

#include "kernels/attention.h"

namespace lexel::kernels::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct Parts {
  at::Tensor q, k, v, scores;
  int64_t group;
};

Parts parts_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
               const AttentionMask& mask, const at::Tensor& key_mask) {
  Parts parts;
  parts.group = q.size(1) / k.size(1);
  parts.q = q.to(at::kFloat).div(std::sqrt(static_cast<double>(q.size(3))));
  parts.k = k.to(at::kFloat).repeat_interleave(parts.group, 1);
  parts.v = v.to(at::kFloat).repeat_interleave(parts.group, 1);
  at::Tensor hidden = mask_table(mask, q.size(2), k.size(2)).logical_not();
  if (key_mask.defined()) {
    hidden = hidden.logical_or(key_mask.logical_not().unsqueeze(1).unsqueeze(1));
  }
  parts.scores = at::matmul(parts.q, parts.k.transpose(2, 3)).masked_fill(hidden, kMinusInfinity);
  return parts;
}

at::Tensor weights_of(const Parts& parts, const at::Tensor& log_sum_exp) {
  return parts.scores.sub(log_sum_exp.unsqueeze(3)).exp().nan_to_num(0.0);
}

at::Tensor by_position(const at::Tensor& x, at::ScalarType type) {
  return x.to(type).transpose(1, 2).contiguous().transpose(1, 2);
}

}  // namespace

AttentionForward attention_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const AttentionMask& mask, const at::Tensor& key_mask) {
  const Parts parts = parts_of(q, k, v, mask, key_mask);
  const at::Tensor log_sum_exp = parts.scores.logsumexp(3);
  const at::Tensor out = at::matmul(weights_of(parts, log_sum_exp), parts.v);
  return {by_position(out, q.scalar_type()), log_sum_exp};
}

AttentionGradients attention_backward(const at::Tensor& grad, const at::Tensor& q,
                                      const at::Tensor& k, const at::Tensor& v,
                                      const AttentionForward& forward, const AttentionMask& mask,
                                      const at::Tensor& key_mask) {
  const Parts parts = parts_of(q, k, v, mask, key_mask);
  const at::Tensor weights = weights_of(parts, forward.log_sum_exp);
  const at::Tensor rows = grad.to(at::kFloat);
  const at::Tensor mean = rows.mul(forward.out).sum(3, true);
  const at::Tensor slope = at::matmul(rows, parts.v.transpose(2, 3)).sub(mean).mul(weights);
  const auto by_key_head = [&](const at::Tensor& x) {
    return x.reshape({x.size(0), k.size(1), parts.group, x.size(2), x.size(3)}).sum(2);
  };
  const at::ScalarType type = q.scalar_type();
  return {
      by_position(at::matmul(slope, parts.k).div(std::sqrt(static_cast<double>(q.size(3)))), type),
      by_position(by_key_head(at::matmul(slope.transpose(2, 3), parts.q)), type),
      by_position(by_key_head(at::matmul(weights.transpose(2, 3), rows)), type)};
}

}  // namespace lexel::kernels::cpu
