// kernels/cuda/attention*: emulated on every machine, and on the GPU where there is one, against attention_reference and its
// gradients by ATen.

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <algorithm>
#include <gtest/gtest.h>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/attention.h"
#include "kernels/cuda/glue.h"
#include "tests/kernels/attention_checks.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/gpu.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using Case = AttentionCase;
using tests::OnEmulatedCuda;
using tests::random_tensor;

// Tiles are 64 rows by 16, 32 or 64 columns, and 16 rows a warp.
std::vector<Case> cases() {
  const AttentionMask full = AttentionMask::full(), causal = AttentionMask::causal();
  return {
      {"one of everything", 1, 1, 1, 1, 1, 8, full},
      {"full, odd width", 1, 2, 2, 17, 33, 24, full},
      {"full, whole tiles", 1, 1, 1, 64, 64, 64, full},
      {"full, two tiles and one", 1, 1, 1, 65, 129, 64, full},
      {"full, wide", 1, 1, 1, 30, 70, 128, full},
      {"full, width 96", 1, 1, 1, 20, 40, 96, full},
      {"cross, padded", 3, 2, 2, 33, 70, 40, full, true},
      {"one query", 2, 2, 2, 1, 100, 64, full},
      {"one key", 1, 2, 2, 65, 1, 16, full},
      {"grouped", 2, 6, 2, 19, 20, 16, full},
      {"causal", 1, 1, 1, 131, 131, 64, causal},
      {"causal, padded", 2, 1, 1, 70, 70, 32, causal, true},
      {"causal, grouped", 1, 4, 1, 65, 65, 120, causal},
      {"causal, wide", 1, 2, 2, 130, 130, 128,
       causal},  // by cuDNN on an H100; the next by our code
      {"prefix of nothing, wide", 1, 1, 1, 130, 130, 128, AttentionMask::with_prefix(0)},
      {"prefix", 1, 1, 1, 130, 130, 32, AttentionMask::with_prefix(20)},
      {"prefix of a whole tile", 1, 1, 1, 150, 150, 16, AttentionMask::with_prefix(64)},
      {"prefix, padded", 2, 2, 1, 70, 70, 32, AttentionMask::with_prefix(33), true},
      {"conv", 1, 1, 1, 200, 200, 64, AttentionMask::conv(16, 5)},
      {"conv with holes between the tiles", 1, 1, 1, 260, 260, 8, AttentionMask::conv(120, 3)},
      {"conv, as wide as its grid", 1, 2, 1, 70, 70, 24, AttentionMask::conv(7, 7)},
      {"conv, wide head", 1, 1, 1, 100, 100, 128, AttentionMask::conv(20, 11)},
      {"conv, padded", 2, 2, 1, 90, 90, 64, AttentionMask::conv(9, 5), true},
  };
}

/// `check(results)` with the emulated code for each generation of GPUs that has its own for the type, and with the real GPU.
template <class Check>
void on_every_gpu(const Inputs& inputs, const AttentionMask& mask, Check&& check) {
  const bool tensors_of_90 = inputs.q.scalar_type() == at::kBFloat16;
  for (const int capability : tensors_of_90 ? std::vector{80, 90} : std::vector{80}) {
    SCOPED_TRACE(capability);
    const OnEmulatedCuda emulated(capability);
    check(results_of(attention, inputs, mask));
  }
  if (tests::kHasGpu) {
    SCOPED_TRACE("GPU");
    check(results_of(attention, inputs, mask, at::kCUDA));
  }
}

class AttentionCuda : public testing::TestWithParam<Case> {};

// A score is a sum of d <= 128 products, rounded at 2^-24 of its terms' size (the products of parts that are left out are
// as small): about 4e-7 for normal values, and its exponential, the sums over keys and their quotient as much again.
TEST_P(AttentionCuda, Float32EqualsTheReferenceWithItsGradients) {
  const Case& c = GetParam();
  const Inputs inputs = inputs_of(c, at::kFloat);
  const Results wanted = results_of(attention_reference, inputs, c.mask);
  on_every_gpu(inputs, c.mask,
               [&](const Results& got) { expect_results(got, wanted, inputs, 4e-6); });
}

// The result, the weights before they meet the values, and the gradient of the scores are rounded to bfloat16: 2^-9 of
// their size each, 2^-9 (1 + 1 + 1) < 0.006; the gradients twice that.
TEST_P(AttentionCuda, Bfloat16EqualsTheReferenceWithItsGradients) {
  const Case& c = GetParam();
  const Inputs inputs = inputs_of(c, at::kBFloat16);
  const Results wanted = results_of(attention_reference, inputs, c.mask);
  on_every_gpu(inputs, c.mask, [&](const Results& got) {
    EXPECT_EQ(got.out.scalar_type(), at::kBFloat16);
    EXPECT_EQ(got.k.scalar_type(), at::kBFloat16);
    expect_results(got, wanted, inputs, 0.006);
  });
}

INSTANTIATE_TEST_SUITE_P(All, AttentionCuda, testing::ValuesIn(cases()));

TEST(AttentionCudaAlone, OrderOfThreadsAndBlocksChangesNothing) {
  const AttentionMask mask = AttentionMask::conv(16, 5);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Inputs inputs = inputs_of({"", 1, 2, 1, 90, 90, 64, mask}, type);
    const auto run = [&](uint64_t seed) {
      const OnEmulatedCuda emulated(90, seed);
      return results_of(attention, inputs, mask);
    };
    const Results first = run(1), second = run(2);
    EXPECT_TRUE(at::equal(first.out, second.out));
    EXPECT_TRUE(at::equal(first.q, second.q));
    EXPECT_TRUE(at::equal(first.k, second.k));
    EXPECT_TRUE(at::equal(first.v, second.v));
  }
}

TEST(AttentionCudaAlone, LogSumExpIsOfTheScaledScores) {
  const at::Tensor q = random_tensor(1, {1, 2, 20, 16}), k = random_tensor(2, {1, 2, 70, 16});
  at::Tensor key_mask = at::ones({1, 70}, at::kBool);
  const at::Tensor wanted = q.matmul(k.transpose(2, 3)).div(4).logsumexp(-1);
  const OnEmulatedCuda emulated;
  const AttentionForward all = cuda::attention_forward(q, k, k, {}, {});
  EXPECT_LT(largest(all.log_sum_exp.sub(wanted)), 4e-6);
  const AttentionForward none = cuda::attention_forward(q, k, k, {}, key_mask.fill_(false));
  EXPECT_TRUE(
      at::equal(none.log_sum_exp, at::full({1, 2, 20}, -std::numeric_limits<float>::infinity())));
  EXPECT_EQ(largest(none.out), 0.0);
}

TEST(AttentionCudaAlone, LargeScoresDoNotOverflow) {
  const AttentionMask causal = AttentionMask::causal();
  Inputs inputs = inputs_of({"", 1, 1, 1, 80, 80, 32, causal}, at::kFloat);
  inputs.q.mul_(300);
  const Results wanted = results_of(attention_reference, inputs, causal);
  on_every_gpu(inputs, causal, [&](const Results& got) {
    // Scores of 300 times the size have 300 times the rounding.
    expect_results(got, wanted, inputs, 300 * 4e-6);
  });
}

TEST(AttentionCudaAlone, RowsOffTheirAlignmentAreTaken) {
  // Rows that begin at odd addresses, and strides that no 16-byte copy divides.
  const auto odd = [](uint64_t seed, at::ScalarType type) {
    return random_tensor(seed, {1, 2, 20, 19}).to(type).slice(3, 1, 17);
  };
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Inputs inputs{odd(1, type), odd(2, type), odd(3, type), odd(4, type), {}};
    Inputs plain = inputs;
    for (at::Tensor* const x : {&plain.q, &plain.k, &plain.v, &plain.grad}) *x = x->contiguous();
    const OnEmulatedCuda emulated;
    const Results got = results_of(attention, inputs, {}),
                  wanted = results_of(attention, plain, {});
    EXPECT_TRUE(at::equal(got.out, wanted.out));
    EXPECT_TRUE(at::equal(got.q, wanted.q));
    EXPECT_TRUE(at::equal(got.k, wanted.k));
    EXPECT_TRUE(at::equal(got.v, wanted.v));
  }
}

TEST(AttentionCudaAlone, EmptyTensorsGiveEmptyResultsOrZeros) {
  const at::Tensor none = at::empty({2, 3, 0, 8}), some = random_tensor(1, {2, 3, 4, 8});
  const OnEmulatedCuda emulated;
  EXPECT_EQ(cuda::attention_forward(none, some, some, {}, {}).out.sizes(), none.sizes());
  const AttentionForward forward = cuda::attention_forward(some, none, none, {}, {});
  EXPECT_EQ(largest(forward.out), 0.0);
  const AttentionGradients gradients =
      cuda::attention_backward(some, some, none, none, forward, {}, {});
  EXPECT_EQ(largest(gradients.q), 0.0);
  EXPECT_EQ(gradients.k.sizes(), none.sizes());
}

}  // namespace
}  // namespace lexel::kernels
