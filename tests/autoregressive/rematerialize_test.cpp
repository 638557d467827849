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

/// What was computed, and how often.
struct Counted {
  int calls = 0;
  Segment segment = [this](const std::vector<at::Tensor>& in) {
    ++calls;
    return at::mm(in[0].tanh(), in[1]).relu();
  };
};

TEST(Rematerialized, ComputesOnceForTheResultAndOnceForTheGradients) {
  const at::Tensor x = random_tensor(1, {5, 4}).requires_grad_();
  const at::Tensor w = random_tensor(2, {4, 3}).requires_grad_();
  Counted counted;
  const at::Tensor plain = counted.segment({x, w});
  plain.square().sum().backward();
  const at::Tensor x_grad = x.grad().clone(), w_grad = w.grad().clone();
  x.mutable_grad().reset();
  w.mutable_grad().reset();

  counted.calls = 0;
  const at::Tensor again = rematerialized(counted.segment, {x, w});
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
    return inside.sum();
  };
  const at::Tensor result = rematerialized(segment, {x});
  EXPECT_TRUE(result.requires_grad());
  EXPECT_FALSE(inside.requires_grad());  // in the forward pass nothing is recorded
  result.backward();
  EXPECT_TRUE(inside.requires_grad());
}

TEST(Rematerialized, AnInputThatIsFixedOrUnusedGetsNoGradient) {
  const at::Tensor x = random_tensor(1, {4}).requires_grad_(), fixed = random_tensor(2, {4});
  const at::Tensor unused = random_tensor(3, {4}).requires_grad_();
  const Segment segment = [](const std::vector<at::Tensor>& in) { return (in[0] * in[1]).sum(); };
  rematerialized(segment, {x, fixed, unused}).backward();
  EXPECT_TRUE(x.grad().equal(fixed));
  EXPECT_FALSE(fixed.grad().defined());
  EXPECT_FALSE(unused.grad().defined() && unused.grad().abs().max().item<float>() > 0.0F);
}

TEST(Rematerialized, WithoutGradientsItIsTheSegment) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = random_tensor(1, {5, 4}).requires_grad_(), w = random_tensor(2, {4, 3});
  Counted counted;
  const at::Tensor result = rematerialized(counted.segment, {x, w});
  EXPECT_FALSE(result.requires_grad());
  EXPECT_EQ(counted.calls, 1);
}

}  // namespace
}  // namespace lexel::ar
