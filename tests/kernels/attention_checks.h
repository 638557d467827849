#pragma once

#include <ATen/core/Tensor.h>
#include <algorithm>
#include <gtest/gtest.h>
#include <ostream>
#include <string>
#include <tuple>

#include "kernels/attention_mask.h"
#include "tests/support/random_tensor.h"

// What the tests of attention on the CPU and on CUDA share: a case, its inputs, outputs and gradients, and how near they must be.
namespace lexel::kernels {

struct AttentionCase {
  std::string name;
  int64_t batch, heads, key_heads, queries, keys, width;
  AttentionMask mask;
  bool padded = false;  // with a key mask
};

inline void PrintTo(const AttentionCase& c, std::ostream* out) { *out << c.name; }

struct Inputs {
  at::Tensor q, k, v, grad, key_mask;
};

/// q, k, v as views of larger tensors, with heads and positions swapped: strides that no two share.
inline Inputs inputs_of(const AttentionCase& c, at::ScalarType type) {
  const auto view = [&](uint64_t seed, int64_t heads, int64_t tokens) {
    return tests::random_tensor(seed, {c.batch, tokens, heads, 2, c.width})
        .select(3, 1)
        .to(type)
        .transpose(1, 2);
  };
  Inputs inputs{view(1, c.heads, c.queries),
                view(2, c.key_heads, c.keys),
                view(3, c.key_heads, c.keys),
                view(4, c.heads, c.queries),
                {}};
  if (c.padded) {
    inputs.key_mask = tests::random_uniform(5, {c.batch, c.keys}).lt(0.6);
    inputs.key_mask[0].slice(0, c.keys / 2, c.keys).fill_(false);  // the end, as padding lies
    if (c.batch > 2) inputs.key_mask[2].fill_(false);              // and all of it
  }
  return inputs;
}

struct Results {
  at::Tensor out, q, k, v;  // the gradients of q, k and v
};

using Attention = at::Tensor (*)(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                 const AttentionMask&, const at::Tensor&);

inline Results results_of(Attention function, const Inputs& inputs, const AttentionMask& mask,
                          at::Device device = at::kCPU) {
  const auto leaf = [&](const at::Tensor& x) { return x.detach().to(device).requires_grad_(); };
  const at::Tensor q = leaf(inputs.q), k = leaf(inputs.k), v = leaf(inputs.v);
  const at::Tensor key_mask = inputs.key_mask.defined() ? inputs.key_mask.to(device) : at::Tensor();
  const at::Tensor out = function(q, k, v, mask, key_mask);
  out.backward(inputs.grad.to(device));
  return {out.detach().cpu(), q.grad().cpu(), k.grad().cpu(), v.grad().cpu()};
}

inline double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

/// Within `tolerance` of `scale`, everywhere, and finite.
inline void expect_near(const char* what, const at::Tensor& got, const at::Tensor& wanted,
                        double tolerance, double scale) {
  ASSERT_EQ(got.sizes(), wanted.sizes()) << what;
  const double difference = largest(got.to(at::kDouble).sub(wanted.to(at::kDouble)));
  EXPECT_LE(difference, tolerance * scale) << what;  // false for NaN
}

/// Each output is a mean of rows of v, so |v| is its scale; a gradient's is its own largest value, or the gradient that
/// comes in where all that it sums cancels (one key).
inline void expect_results(const Results& got, const Results& wanted, const Inputs& inputs,
                           double tolerance) {
  const double floor = 0.1 * largest(inputs.grad);
  expect_near("out", got.out, wanted.out, tolerance, largest(inputs.v));
  for (const auto& [name, x, y] :
       {std::tuple{"gradient of q", got.q, wanted.q}, std::tuple{"gradient of k", got.k, wanted.k},
        std::tuple{"gradient of v", got.v, wanted.v}}) {
    expect_near(name, x, y, 2 * tolerance, std::max(floor, largest(y)));
  }
}

}  // namespace lexel::kernels
