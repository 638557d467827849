#include "autoregressive/rematerialize.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/mm.h>
#include <gtest/gtest.h>

#include "tests/support/random_tensor.h"

namespace lexel::ar {
namespace {

using tests::random_tensor;

using variables = std::vector<at::Tensor>;

/// What was computed, and how often.
struct Counted {
  int calls = 0;
  Segment segment = [this](const std::vector<at::Tensor>& in) {
    ++calls;
    return variables{at::mm(in[0].tanh(), in[1]).relu()};
  };
};

TEST(Rematerialized, ComputesOnceForTheResultAndOnceForTheGradients) {
  const at::Tensor x = random_tensor(1, {5, 4}).requires_grad_();
  const at::Tensor w = random_tensor(2, {4, 3}).requires_grad_();
  Counted counted;
  const at::Tensor plain = counted.segment({x, w})[0];
  plain.square().sum().backward();
  const at::Tensor x_grad = x.grad().clone(), w_grad = w.grad().clone();
  x.mutable_grad().reset();
  w.mutable_grad().reset();

  counted.calls = 0;
  const at::Tensor again = rematerialized(counted.segment, {x, w})[0];
  EXPECT_EQ(counted.calls, 1);
  EXPECT_TRUE(again.equal(plain));
  again.square().sum().backward();
  EXPECT_EQ(counted.calls, 2);
  EXPECT_TRUE(x.grad().equal(x_grad));
  EXPECT_TRUE(w.grad().equal(w_grad));
}

TEST(Rematerialized, KeepsNoGraphOfTheSegment) {
  const at::Tensor x = random_tensor(1, {5, 4}).requires_grad_();
  at::Tensor inside;
  const Segment segment = [&inside](const std::vector<at::Tensor>& in) {
    inside = in[0].exp();
    return variables{inside.sum()};
  };
  const at::Tensor result = rematerialized(segment, {x})[0];
  EXPECT_TRUE(result.requires_grad());
  EXPECT_FALSE(inside.requires_grad());  // in the forward pass nothing is recorded
  result.backward();
  EXPECT_TRUE(inside.requires_grad());
}

TEST(Rematerialized, AnInputThatIsFixedOrUnusedGetsNoGradient) {
  const at::Tensor x = random_tensor(1, {4}).requires_grad_(), fixed = random_tensor(2, {4});
  const at::Tensor unused = random_tensor(3, {4}).requires_grad_();
  const Segment segment = [](const variables& in) { return variables{(in[0] * in[1]).sum()}; };
  rematerialized(segment, {x, fixed, unused})[0].backward();
  EXPECT_TRUE(x.grad().equal(fixed));
  EXPECT_FALSE(fixed.grad().defined());
  EXPECT_FALSE(unused.grad().defined() && unused.grad().abs().max().item<float>() > 0.0F);
}

TEST(Rematerialized, GivesSeveralResultsWithTheirGradients) {
  const at::Tensor x = random_tensor(1, {5}).requires_grad_();
  const Segment segment = [](const variables& in) {
    return variables{in[0].exp(), in[0].square().sum(), in[0].gt(0).to(at::kLong)};
  };
  for (const double second :
       {0.0, 3.0}) {  // a result that the loss does not read, and one that it does
    const variables plain = segment({x}), again = rematerialized(segment, {x});
    ASSERT_EQ(again.size(), 3U);
    EXPECT_FALSE(again[2].requires_grad());
    x.mutable_grad().reset();
    (second == 0.0 ? plain[0].sum() : plain[0].sum() + second * plain[1]).backward();
    const at::Tensor wanted = x.grad().clone();
    x.mutable_grad().reset();
    (second == 0.0 ? again[0].sum() : again[0].sum() + second * again[1]).backward();
    EXPECT_TRUE(x.grad().equal(wanted));
  }
}

TEST(Rematerialized, WithoutGradientsItIsTheSegment) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = random_tensor(1, {5, 4}).requires_grad_(), w = random_tensor(2, {4, 3});
  Counted counted;
  const at::Tensor result = rematerialized(counted.segment, {x, w})[0];
  EXPECT_FALSE(result.requires_grad());
  EXPECT_EQ(counted.calls, 1);
}

}  // namespace
}  // namespace lexel::ar
