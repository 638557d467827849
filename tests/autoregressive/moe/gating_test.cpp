#include "autoregressive/moe/gating.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "autoregressive/moe/gating_reference.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::moe {
namespace {

using tests::expect_error;
using tests::random_tensor;
using tests::relative_difference;

struct Case {
  const char* name;
  int64_t groups, size, experts;
  GatingOptions options;
};

class GatingTest : public testing::TestWithParam<Case> {};

/// The routing as the reference's dense weights, (G, S, E, C), by adding each gate at its slot.
at::Tensor dense(const Routing& routing, const Case& c) {
  const int64_t capacity = expert_capacity(c.options.capacity_factor, c.size, c.experts);
  EXPECT_EQ(routing.rows, c.experts * c.groups * capacity);
  at::Tensor all = at::zeros({routing.tokens, routing.rows + 1}, at::kDouble);
  for (int64_t k = 0; k < 2; ++k) {
    all = all.scatter_add(1, routing.slots[k].unsqueeze(1), routing.gates[k].unsqueeze(1));
  }
  return all
      .slice(1, 0, routing.rows)  // rows in the order (E, G, C); a token's own group is what counts
      .view({c.groups, c.size, c.experts, c.groups, capacity})
      .diagonal(0, 0, 3)  // (S, E, C, G)
      .permute({3, 0, 1, 2});
}

TEST_P(GatingTest, EqualsTheEinsumFormWithItsGradient) {
  const Case& c = GetParam();
  const at::Tensor noise = second_choice_noise(3, 5, "layer", 0, c.groups, c.size);
  const auto leaf = [&] {
    return random_tensor(1, {c.groups, c.size, c.experts}).to(at::kDouble).requires_grad_();
  };
  const at::Tensor a = leaf(), b = leaf();
  const Routing routing = top2_gating(a, noise, {}, c.options);
  const DenseGating wanted = gating_reference(b, noise, c.options);
  const at::Tensor combine = dense(routing, c);
  EXPECT_LT(relative_difference(combine, wanted.combine), 1e-10);
  EXPECT_LT(relative_difference(routing.auxiliary, wanted.auxiliary), 1e-10);
  EXPECT_EQ(combine.gt(0).sum().item<int64_t>(), wanted.combine.gt(0).sum().item<int64_t>());

  const at::Tensor weights =
      random_tensor(2, std::vector<int64_t>(combine.sizes().begin(), combine.sizes().end()))
          .to(at::kDouble);
  ((combine * weights).sum() + 100.0 * routing.auxiliary).backward();
  ((wanted.combine * weights).sum() + 100.0 * wanted.auxiliary).backward();
  EXPECT_LT(relative_difference(a.grad(), b.grad()), 1e-10);
}

INSTANTIATE_TEST_SUITE_P(Shapes, GatingTest,
                         testing::Values(Case{"Paper", 3, 16, 4, {Gating::kGShard, 1.0}},
                                         Case{"Tight", 2, 17, 5, {Gating::kGShard, 0.5}},
                                         Case{"Wide", 2, 9, 3, {Gating::kGShard, 4.0}},
                                         Case{"TwoExperts", 1, 8, 2, {Gating::kGShard, 0.7}},
                                         Case{"Lingvo", 3, 16, 4, {Gating::kLingvo, 1.0}},
                                         Case{"LingvoTight", 2, 17, 5, {Gating::kLingvo, 0.5}}),
                         [](const auto& one) { return std::string(one.param.name); });

/// Logits whose softmax is p, normalised.
at::Tensor logits_of(const std::vector<double>& p, int64_t experts) {
  return at::tensor(p, at::kDouble).log().view({1, -1, experts});
}

const std::vector<double> kFour = {.6, .3, .1, .5, .4, .1, .7, .1, .2, .6, .1, .3};

TEST(GatingByHand, FollowsAlgorithmOne) {
  // Four tokens, three experts, C = ceil(0.75 * 8 / 3) = 2. First choices 0, 0, 0, 0: two fit. Second choices 1, 1, 2, 2
  // with gates 1/3, 4/9, 2/9, 1/3, kept where noise is below 2/3, 8/9, 4/9, 2/3.
  const at::Tensor noise = at::tensor({0.7, 0.1, 0.2, 0.6}, at::kDouble).view({1, 4});
  const Routing r = top2_gating(logits_of(kFour, 3), noise, {}, {Gating::kGShard, 0.75});
  EXPECT_EQ(r.rows, 6);
  const std::vector<int64_t> slots = {0, 1, 6, 6,
                                      6, 3, 4, 5};  // token 0's dropped second choice holds row 2
  EXPECT_TRUE(at::equal(r.slots, at::tensor(slots, at::kLong).view({2, 4})));
  const std::vector<double> gates = {2. / 3, 5. / 9, 0, 0, 0, 4. / 9, 2. / 9, 1. / 3};
  EXPECT_LT(relative_difference(r.gates, at::tensor(gates, at::kDouble).view({2, 4})), 1e-12);
  // 1/3 (4/4 mean(.6, .5, .7, .6) + 0 + 0)
  EXPECT_NEAR(r.auxiliary.item<double>(), 0.6 / 3, 1e-12);
  EXPECT_TRUE(at::equal(r.chosen, at::tensor({4, 0, 0}, at::kLong)));

  const Routing lingvo = top2_gating(logits_of(kFour, 3), noise, {}, {Gating::kLingvo, 0.75});
  EXPECT_EQ(lingvo.slots[1][1].item<int64_t>(), 2);  // the dropped choice before it takes no row
  EXPECT_NEAR(lingvo.auxiliary.item<double>(), 9 * 0.6 / 3, 1e-12);
}

TEST(GatingByHand, TheLowerIndexWinsATie) {
  const Routing r =
      top2_gating(at::zeros({1, 1, 4}, at::kDouble), at::zeros({1, 1}, at::kDouble), {}, {});
  EXPECT_EQ(r.rows, 4);
  EXPECT_EQ(r.slots[0][0].item<int64_t>(), 0);
  EXPECT_EQ(r.slots[1][0].item<int64_t>(), 1);
}

TEST(GatingByHand, AnEvenUseHasTheSmallestAuxiliaryLoss) {
  at::Tensor even = at::zeros({1, 4, 4}, at::kDouble), one = even.clone();
  for (int64_t s = 0; s < 4; ++s) {
    even[0][s][s] = 20.0;
    one[0][s][0] = 20.0;
  }
  const at::Tensor noise = at::zeros({1, 4}, at::kDouble);
  EXPECT_NEAR(top2_gating(even, noise, {}, {}).auxiliary.item<double>(), 1.0 / 16, 1e-6);
  EXPECT_NEAR(top2_gating(one, noise, {}, {}).auxiliary.item<double>(), 1.0 / 4, 1e-6);
  EXPECT_NEAR(task_balance(even[0]).item<double>(), 1.0 / 16, 1e-6);
  EXPECT_NEAR(task_balance(one[0]).item<double>(), 1.0 / 4, 1e-6);
}

TEST(GatingPadding, AGroupWithPaddingIsRoutedAsTheGroupWithout) {
  const at::Tensor logits = random_tensor(4, {1, 7, 3}).to(at::kDouble);
  const at::Tensor noise = second_choice_noise(1, 1, "x", 0, 1, 12);
  const at::Tensor padded = at::cat({logits, random_tensor(5, {1, 5, 3}).to(at::kDouble)}, 1);
  const at::Tensor real = at::arange(12, at::kLong).lt(7).view({1, 12});
  for (const Gating rules : {Gating::kGShard, Gating::kLingvo}) {
    const GatingOptions options{rules, 0.6};
    const Routing wanted = top2_gating(logits, noise.slice(1, 0, 7).contiguous(), {}, options);
    const Routing got = top2_gating(padded, noise, real, options);
    EXPECT_TRUE(at::equal(got.gates.slice(1, 0, 7), wanted.gates));
    EXPECT_EQ(got.gates.slice(1, 7).abs().sum().item<double>(), 0.0);
    EXPECT_TRUE(got.slots.slice(1, 7).eq(got.rows).all().item<bool>());
    EXPECT_TRUE(at::equal(got.chosen, wanted.chosen));
    EXPECT_LT(relative_difference(got.auxiliary, wanted.auxiliary), 1e-12);
  }
}

TEST(GatingNoise, DependsOnThePlaceInTheWholeBatchOnly) {
  const at::Tensor all = second_choice_noise(7, 11, "decoder.blocks.1", 0, 6, 10);
  const at::Tensor part = second_choice_noise(7, 11, "decoder.blocks.1", 4, 2, 10);
  EXPECT_TRUE(at::equal(all.slice(0, 4), part));
  EXPECT_TRUE(
      at::equal(all.slice(1, 0, 3), second_choice_noise(7, 11, "decoder.blocks.1", 0, 6, 3)));
  EXPECT_FALSE(at::equal(all, second_choice_noise(8, 11, "decoder.blocks.1", 0, 6, 10)));
  EXPECT_FALSE(at::equal(all, second_choice_noise(7, 12, "decoder.blocks.1", 0, 6, 10)));
  EXPECT_FALSE(at::equal(all, second_choice_noise(7, 11, "decoder.blocks.3", 0, 6, 10)));
  const at::Tensor many = second_choice_noise(1, 1, "x", 0, 100, 100);
  EXPECT_NEAR(many.mean().item<double>(), 0.5, 0.01);
  EXPECT_GE(many.min().item<double>(), 0.0);
  EXPECT_LT(many.max().item<double>(), 1.0);
}

TEST(UnlimitedGating, TakesBothChoicesOfEveryToken) {
  const at::Tensor logits = random_tensor(6, {20, 4}).to(at::kDouble);
  const Routing r = unlimited_gating(logits, {});
  EXPECT_EQ(r.rows, 40);
  EXPECT_EQ(
      std::get<0>(r.slots.flatten().sort()).eq(at::arange(40, at::kLong)).sum().item<int64_t>(),
      40);
  EXPECT_LT(relative_difference(r.gates.sum(0), at::ones({20}, at::kDouble)), 1e-12);
  // A capacity that all fit in and no noise give the same gates.
  const Routing capped = top2_gating(logits.unsqueeze(0), at::zeros({1, 20}, at::kDouble), {},
                                     {Gating::kGShard, 100.0});
  EXPECT_TRUE(at::equal(capped.gates, r.gates));
  EXPECT_TRUE(at::equal(capped.chosen, r.chosen));

  const Routing even = unlimited_gating(logits, {}, [](int64_t most) { return most; });
  EXPECT_TRUE(even.rows_of_expert.empty());
  EXPECT_EQ(even.rows % 4, 0);
  EXPECT_LT(even.slots.max().item<int64_t>(), even.rows);
  EXPECT_TRUE(at::equal(even.gates, r.gates));
}

TEST(GatingErrors, NameWhatIsWrong) {
  const at::Tensor logits = at::zeros({2, 3, 4}), noise = at::zeros({2, 3}, at::kDouble);
  const auto refused = [](const std::string& words, auto&& call) {
    expect_error(ErrorKind::kUsage, words, call);
  };
  refused("moe::top2_gating: expected logits of 3 dimensions",
          [&] { top2_gating(logits[0], noise, {}, {}); });
  refused("at least 2 experts", [&] { top2_gating(logits.slice(2, 0, 1), noise, {}, {}); });
  refused("float32 or float64, got Half",
          [&] { top2_gating(logits.to(at::kHalf), noise, {}, {}); });
  refused("expected float64 noise (2, 3)",
          [&] { top2_gating(logits, noise.to(at::kFloat), {}, {}); });
  refused("one flag (bool) a token", [&] { top2_gating(logits, noise, noise, {}); });
  refused("expected a capacity_factor above 0, got 0", [&] {
    top2_gating(logits, noise, {}, {Gating::kGShard, 0.0});
  });
  refused("moe::unlimited_gating: expected logits of 2 dimensions",
          [&] { unlimited_gating(logits, {}); });
  refused("moe::task_balance: expected logits of 2 dimensions", [&] { task_balance(logits); });
}

}  // namespace
}  // namespace lexel::moe
