#include "kernels/attention.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <tuple>
#include <vector>

#include "tests/kernels/attention_checks.h"
#include "tests/support/expect_error.h"
#include "tests/support/gpu.h"
#include "tests/support/kernel_paths.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using Case = AttentionCase;
using tests::expect_error;
using tests::random_tensor;

// --- masks ---------------------------------------------------------------------------------------

int64_t seen(const at::Tensor& table, int64_t query) { return table[query].sum().item<int64_t>(); }

/// The set of the docstring, written out.
at::Tensor conv_table(int64_t tokens, int64_t grid_width, int64_t kernel) {
  at::Tensor table = at::zeros({tokens, tokens}, at::kBool);
  const int64_t radius = kernel / 2;
  for (int64_t p = 0; p < tokens; ++p) {
    const auto see = [&](int64_t offset) {
      if (p - offset >= 0) table[p][p - offset] = true;
    };
    for (int64_t o = 0; o <= radius; ++o) see(o);
    for (int64_t i = 1; i <= radius; ++i) {
      for (int64_t o = grid_width * i - radius; o <= grid_width * i + radius; ++o) see(o);
    }
  }
  return table;
}

TEST(AttentionMask, FullSeesAllAndCausalThePast) {
  EXPECT_TRUE(mask_table(AttentionMask::full(), 3, 5).all().item<bool>());
  EXPECT_TRUE(
      at::equal(mask_table(AttentionMask::causal(), 5, 5), at::ones({5, 5}, at::kBool).tril()));
}

TEST(AttentionMask, PrefixIsSeenByAll) {
  at::Tensor wanted = at::ones({6, 6}, at::kBool).tril();
  wanted.slice(1, 0, 3).fill_(true);
  EXPECT_TRUE(at::equal(mask_table(AttentionMask::with_prefix(3), 6, 6), wanted));
  EXPECT_TRUE(at::equal(mask_table(AttentionMask::with_prefix(0), 6, 6),
                        mask_table(AttentionMask::causal(), 6, 6)));
  EXPECT_TRUE(mask_table(AttentionMask::with_prefix(9), 6, 6).all().item<bool>());
}

TEST(AttentionMask, ConvOfKernel11HasExactly61Offsets) {
  const at::Tensor table = mask_table(AttentionMask::conv(32, 11), 1024, 1024);
  EXPECT_EQ(seen(table, 1023), 61);
  EXPECT_EQ(seen(table, 5 * 32 + 5), 61);
  EXPECT_EQ(seen(table, 5 * 32 + 4), 60);
  EXPECT_EQ(seen(table, 0), 1);
  EXPECT_EQ(seen(table, 5), 6);
  EXPECT_EQ(seen(table, 32), 12);  // itself and 5 before; of the row above 0..5, all that exist
}

TEST(AttentionMask, ConvIsTheSetOfItsOffsets) {
  for (const auto& [tokens, grid_width, kernel] :
       std::vector<std::tuple<int64_t, int64_t, int64_t>>{
           {40, 8, 3}, {77, 7, 7}, {64, 8, 5}, {30, 1, 1}, {50, 64, 9}, {90, 11, 11}}) {
    EXPECT_TRUE(at::equal(mask_table(AttentionMask::conv(grid_width, kernel), tokens, tokens),
                          conv_table(tokens, grid_width, kernel)))
        << tokens << " tokens, grid " << grid_width << ", kernel " << kernel;
  }
}

TEST(AttentionMask, RejectsWhatCannotBe) {
  const auto rejects = [](const AttentionMask& mask, const std::string& message) {
    expect_error(ErrorKind::kUsage, "mask_table: " + message, [&] { mask_table(mask, 4, 4); });
  };
  rejects(AttentionMask::with_prefix(-1), "expected a prefix of at least 0 keys, got -1");
  rejects(AttentionMask::conv(8, 4), "expected an odd conv kernel in 1..255, got 4");
  rejects(AttentionMask::conv(8, -1), "expected an odd conv kernel in 1..255, got -1");
  rejects(AttentionMask::conv(512, 257), "expected an odd conv kernel in 1..255, got 257");
  rejects(AttentionMask::conv(int64_t{1} << 40, 3),
          "expected a grid of at most 16777216 tokens a row, got 1099511627776");
  rejects(AttentionMask::conv(8, 9),
          "expected a grid at least as wide as the conv kernel, 9, got 8");
}

// --- attention -----------------------------------------------------------------------------------

std::vector<Case> cases() {
  const AttentionMask full = AttentionMask::full(), causal = AttentionMask::causal();
  return {
      {"one of everything", 1, 1, 1, 1, 1, 8, full},
      {"full", 2, 3, 3, 37, 37, 32, full},
      {"full, odd width", 1, 2, 2, 50, 50, 24, full},
      {"full, wide", 1, 1, 1, 130, 130, 128, full},
      {"full, width 8", 1, 2, 2, 19, 70, 8, full},
      {"full, width 4", 1, 3, 3, 21, 21, 4, full},
      {"full, wider than our kernels", 1, 2, 1, 20, 31, 136, full, true},
      {"causal, width 100", 1, 2, 2, 70, 70, 100, causal},
      {"cross", 2, 2, 2, 13, 141, 64, full},
      {"cross, padded", 3, 2, 2, 33, 70, 40, full, true},
      {"one query", 2, 2, 2, 1, 200, 64, full},
      {"one key", 1, 2, 2, 65, 1, 16, full},
      {"grouped", 2, 6, 2, 40, 67, 16, full},
      {"causal", 2, 2, 2, 131, 131, 64, causal},
      {"causal, one token", 1, 2, 2, 1, 1, 64, causal},
      {"causal, padded", 2, 2, 2, 70, 70, 32, causal, true},
      {"causal, grouped", 1, 4, 1, 65, 65, 120, causal},
      {"prefix", 1, 2, 2, 150, 150, 32, AttentionMask::with_prefix(20)},
      {"prefix of a whole block", 1, 1, 1, 192, 192, 16, AttentionMask::with_prefix(64)},
      {"prefix, longer than the keys", 1, 1, 1, 9, 9, 16, AttentionMask::with_prefix(11)},
      {"prefix, padded", 2, 2, 1, 70, 70, 32, AttentionMask::with_prefix(33), true},
      {"conv", 1, 2, 2, 256, 256, 64, AttentionMask::conv(16, 11)},
      {"conv, kernel 3", 2, 2, 2, 130, 130, 32, AttentionMask::conv(13, 3)},
      {"conv, kernel 1", 1, 1, 1, 40, 40, 16, AttentionMask::conv(8, 1)},
      {"conv, as wide as its grid", 1, 2, 1, 100, 100, 24, AttentionMask::conv(7, 7)},
      {"conv, wide kernel", 1, 1, 1, 300, 300, 16, AttentionMask::conv(40, 35)},
      {"conv, grid wider than the tokens", 1, 1, 1, 50, 50, 16, AttentionMask::conv(64, 9)},
      {"conv, padded", 2, 2, 2, 90, 90, 64, AttentionMask::conv(9, 5), true},
  };
}

/// `check(results)` with the code that this CPU runs, and the GPU where there is one.
template <class Check>
void on_this_machine(const Inputs& inputs, const AttentionMask& mask, Check&& check) {
  check(results_of(attention, inputs, mask));
  if (tests::kHasGpu) {
    SCOPED_TRACE("GPU");
    check(results_of(attention, inputs, mask, at::kCUDA));
  }
}

/// The same with the CPU's code for each instruction set.
template <class Check>
void on_every_path(const Inputs& inputs, const AttentionMask& mask, Check&& check) {
  tests::on_every_target([&] { check(results_of(attention, inputs, mask)); });
  on_this_machine(inputs, mask, check);
}

TEST(Attention, HandMade) {
  // Scores log(1), log(3) after the division by sqrt(16): weights 1/4 and 3/4.
  at::Tensor q = at::zeros({1, 1, 1, 16}), k = at::zeros({1, 1, 2, 16}),
             v = at::zeros({1, 1, 2, 16});
  q[0][0][0][0] = 4.0;
  k[0][0][1][0] = std::log(3.0);
  v[0][0][0][5] = 8.0;
  v[0][0][1][6] = 4.0;
  for (const Attention function : {attention, attention_reference}) {
    const at::Tensor out = function(q, k, v, {}, {});
    EXPECT_NEAR(out[0][0][0][5].item<double>(), 2.0, 1e-6);
    EXPECT_NEAR(out[0][0][0][6].item<double>(), 3.0, 1e-6);
    EXPECT_EQ(out[0][0][0][7].item<double>(), 0.0);
  }
}

// A score is a sum of d <= 128 products, rounded at 2^-24 of its terms' size: about 4e-7 for normal values, and its
// exponential, the sums over keys and their quotient as much again. 4e-6 is four times what that comes to.
TEST(Attention, Float32EqualsTheReferenceWithItsGradients) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const Inputs inputs = inputs_of(c, at::kFloat);
    const Results wanted = results_of(attention_reference, inputs, c.mask);
    on_every_path(inputs, c.mask,
                  [&](const Results& got) { expect_results(got, wanted, inputs, 4e-6); });
  }
}

// The result is rounded to bfloat16, 2^-9 of its size; on a CPU with AMX, products in bfloat16 round scores (up to 5) and
// weights too, 2^-9 each: 2^-9 (5 + 1 + 1) < 0.015, and the gradients twice that.
TEST(Attention, Bfloat16EqualsTheReferenceWithItsGradients) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const Inputs inputs = inputs_of(c, at::kBFloat16);
    const Results wanted = results_of(attention_reference, inputs, c.mask);
    const auto check = [&](const Results& got) {
      EXPECT_EQ(got.out.scalar_type(), at::kBFloat16);
      EXPECT_EQ(got.q.scalar_type(), at::kBFloat16);
      expect_results(got, wanted, inputs, 0.015);
    };
    // Only reading and writing differ from float32: two cases for all instruction sets.
    if (c.name == "causal, padded" || c.name == "full, odd width") {
      on_every_path(inputs, c.mask, check);
    } else {
      on_this_machine(inputs, c.mask, check);
    }
  }
}

TEST(Attention, LargeScoresDoNotOverflow) {
  Inputs inputs = inputs_of({"", 1, 2, 2, 80, 80, 32, AttentionMask::causal()}, at::kFloat);
  inputs.q.mul_(300);
  const Results wanted = results_of(attention_reference, inputs, AttentionMask::causal());
  on_every_path(inputs, AttentionMask::causal(), [&](const Results& got) {
    // Scores of 300 times the size have 300 times the rounding.
    expect_results(got, wanted, inputs, 300 * 4e-6);
  });
}

TEST(Attention, QueryThatSeesNothingGivesZerosAndZeroGradients) {
  Inputs inputs = inputs_of({"", 2, 2, 2, 70, 70, 32, {}}, at::kFloat);
  inputs.key_mask = at::ones({2, 70}, at::kBool);
  inputs.key_mask[0].fill_(false);
  inputs.key_mask[1].slice(0, 0, 10).fill_(false);
  on_every_path(inputs, AttentionMask::causal(), [&](const Results& got) {
    for (const at::Tensor& x :
         {got.out[0], got.q[0], got.k[0], got.v[0], got.out[1].slice(1, 0, 10),
          got.q[1].slice(1, 0, 10), got.k[1].slice(1, 0, 10), got.v[1].slice(1, 0, 10)}) {
      EXPECT_EQ(largest(x), 0.0);
    }
    EXPECT_GT(largest(got.out[1].slice(1, 10, 11)), 0.0);
  });
}

TEST(Attention, EmptyTensorsGiveEmptyResultsOrZeros) {
  const at::Tensor none = at::empty({2, 3, 0, 8}), some = random_tensor(1, {2, 3, 4, 8});
  for (const Attention function : {attention, attention_reference}) {
    EXPECT_EQ(function(none, none, none, AttentionMask::causal(), {}).sizes(), none.sizes());
    EXPECT_EQ(function(none, some, some, {}, {}).sizes(), none.sizes());
    const at::Tensor out = function(some, none, none, {}, {});
    ASSERT_EQ(out.sizes(), some.sizes());
    EXPECT_EQ(largest(out), 0.0);
  }
  const at::Tensor q = some.clone().requires_grad_();
  attention(q, none, none).sum().backward();
  EXPECT_EQ(largest(q.grad()), 0.0);
}

TEST(Attention, ResultLiesByPositionSoThatJoiningHeadsIsFree) {
  const at::Tensor x = random_tensor(1, {2, 3, 5, 8});
  for (const Attention function : {attention, attention_reference}) {
    EXPECT_TRUE(function(x, x, x, {}, {}).transpose(1, 2).is_contiguous());
  }
}

TEST(Attention, NumberOfThreadsChangesNothing) {
  const int threads = at::get_num_threads();
  for (const AttentionMask& mask :
       {AttentionMask::full(), AttentionMask::causal(), AttentionMask::conv(10, 5)}) {
    const Inputs inputs = inputs_of({"", 2, 3, 3, 150, 150, 32, mask}, at::kFloat);
    at::set_num_threads(3);
    const Results many = results_of(attention, inputs, mask);
    at::set_num_threads(1);
    const Results one = results_of(attention, inputs, mask);
    at::set_num_threads(threads);
    EXPECT_TRUE(at::equal(many.out, one.out));
    EXPECT_TRUE(at::equal(many.q, one.q));
    EXPECT_TRUE(at::equal(many.k, one.k));
    EXPECT_TRUE(at::equal(many.v, one.v));
  }
}

TEST(Attention, WithoutGradientsTheSameBits) {
  const Inputs inputs = inputs_of({"", 1, 2, 2, 70, 70, 32, {}}, at::kFloat);
  for (const AttentionMask& mask : {AttentionMask::full(), AttentionMask::causal()}) {
    const Results with = results_of(attention, inputs, mask);
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(at::equal(attention(inputs.q, inputs.k, inputs.v, mask), with.out));
  }
}

TEST(Attention, RejectsASecondDerivative) {
  const at::Tensor x = random_tensor(1, {1, 1, 3, 8}).requires_grad_();
  expect_error(ErrorKind::kUsage, "attention: expected a first derivative", [&] {
    attention(x, x, x).sum().backward({}, /*retain_graph=*/true, /*create_graph=*/true);
  });
}

TEST(Attention, RejectsArgumentsThatAreNotAsDocumented) {
  const at::Tensor x = at::zeros({2, 4, 6, 16});
  const auto rejects = [](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const AttentionMask& mask, const at::Tensor& key_mask,
                          const std::string& message) {
    for (const Attention function : {attention, attention_reference}) {
      expect_error(ErrorKind::kUsage, "attention: " + message,
                   [&] { function(q, k, v, mask, key_mask); });
    }
  };
  const AttentionMask full = AttentionMask::full(), causal = AttentionMask::causal();
  rejects({}, x, x, full, {}, "expected three tensors, got an undefined one");
  rejects(x.to(at::kHalf), x, x, full, {}, "expected float32 or bfloat16, got q Half");
  rejects(x, x.to(at::kBFloat16), x, full, {},
          "expected one dtype, got q Float, k BFloat16 and v Float");
  rejects(x[0], x, x, full, {}, "expected q (B, H, N, d), k and v (B, G, M, d), got [4, 6, 16]");
  rejects(x, x, at::zeros({2, 4, 7, 16}), full, {}, "expected q (B, H, N, d)");
  rejects(at::zeros({1, 4, 6, 16}), x, x, full, {},
          "expected one B and one d, got q [1, 4, 6, 16]");
  rejects(at::zeros({2, 4, 6, 8}), x, x, full, {}, "expected one B and one d, got q [2, 4, 6, 8]");
  const at::Tensor none = at::zeros({1, 1, 2, 0});
  rejects(none, none, none, full, {}, "expected a head width of at least 1, got 0");
  const at::Tensor three = at::zeros({2, 3, 6, 16});
  rejects(x, three, three, full, {}, "expected key heads that divide the query heads, got 3 and 4");
  const at::Tensor longer = at::zeros({2, 4, 7, 16});
  rejects(x, longer, longer, causal, {},
          "expected as many keys as queries with this mask, got 7 and 6");
  rejects(x, x, x, AttentionMask::conv(4, 2), {}, "expected an odd conv kernel in 1..255, got 2");
  const at::Tensor meta = at::empty({2, 4, 6, 16}, at::kMeta);
  rejects(x, meta, x, full, {}, "expected one device, got q on cpu, k on meta and v on cpu");
  rejects(meta, meta, meta, full, {}, "expected CPU or CUDA tensors, got q on meta");
  rejects(at::zeros({2, 4, 16, 6}).transpose(2, 3), x, x, full, {},
          "expected a contiguous last dimension, got strides [384, 96, 1, 6]");
  rejects(x, x, x, full, at::zeros({2, 6}), "expected a key mask (B, M) bool, got [2, 6] Float");
  rejects(x, x, x, full, at::zeros({2, 5}, at::kBool),
          "expected a key mask (B, M) bool, got [2, 5] Bool");
  rejects(x, x, x, full, at::empty({2, 6}, at::device(at::kMeta).dtype(at::kBool)),
          "expected the key mask on cpu, got it on meta");
}

}  // namespace
}  // namespace lexel::kernels
