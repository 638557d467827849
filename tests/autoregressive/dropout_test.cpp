#include "autoregressive/dropout.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/support/random_tensor.h"

namespace lexel::ar {
namespace {

TEST(Dropout, KeepsTheExpectationAndTheShare) {
  const int64_t n = 1 << 20;
  for (const double rate : {0.1, 0.5, 0.9}) {
    const at::Tensor y = dropout(at::ones({n}), rate, 1, "a", 0);
    const double dropped = (y == 0).to(at::kDouble).mean().item<double>();
    // Five standard deviations of a binomial share.
    const double bound = 5.0 * std::sqrt(rate * (1.0 - rate) / static_cast<double>(n));
    EXPECT_NEAR(dropped, rate, bound + 1e-5);
    EXPECT_NEAR(y.mean().item<double>(), 1.0, (bound + 1e-5) / (1.0 - rate));
    EXPECT_NEAR(y.max().item<double>(), 1.0 / (1.0 - rate), 1e-3);
  }
}

TEST(Dropout, BFloat16IsScaledAsExactlyAsItCanBe) {
  // 2.25 / 0.9 = 2.5 has a bfloat16; 1 / 0.9 has none.
  const at::Tensor x = at::ones({1 << 16}, at::kBFloat16) * 2.25;
  EXPECT_EQ(dropout(x, 0.1, 1, "a", 0).max().item<float>(), 2.5F);
}

TEST(Dropout, DependsOnSeedSiteStepAndPlaceOnly) {
  const at::Tensor x = at::ones({3, 4099});  // more than a task, and no multiple of a block
  const at::Tensor y = dropout(x, 0.5, 1, "a", 2);
  EXPECT_TRUE(dropout(x, 0.5, 1, "a", 2).equal(y));
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  EXPECT_TRUE(dropout(x, 0.5, 1, "a", 2).equal(y));
  at::set_num_threads(threads);
  for (const at::Tensor& other :
       {dropout(x, 0.5, 2, "a", 2), dropout(x, 0.5, 1, "b", 2), dropout(x, 0.5, 1, "a", 3)}) {
    const double same = (other == y).to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(same, 0.5, 0.03);  // independent masks agree on half of the places
  }
  const at::Tensor half = (dropout(x.to(at::kBFloat16), 0.5, 1, "a", 2) == 0);
  EXPECT_TRUE(half.equal(y == 0));
}

TEST(Dropout, GradientIsTheMask) {
  const at::Tensor x = tests::random_tensor(1, {64, 64}).requires_grad_();
  const at::Tensor y = dropout(x, 0.25, 1, "a", 0);
  y.sum().backward();
  EXPECT_LT(tests::relative_difference(x.grad() * x, y), 1e-6);
}

TEST(Dropout, APartDropsWhatTheWholeDropsThere) {
  const at::Tensor whole = dropout(at::ones({4, 7, 22}), 0.5, 1, "a", 2);
  const auto part = [](int64_t rows, int64_t tokens, int64_t channels, const DropoutPart& where) {
    return dropout(at::ones({rows, tokens, channels}), 0.5, 1, "a", 2, where);
  };
  EXPECT_TRUE(part(2, 7, 22, {.first_row = 1}).equal(whole.narrow(0, 1, 2)));
  EXPECT_TRUE(part(4, 3, 22, {.first_token = 2, .tokens = 7}).equal(whole.narrow(1, 2, 3)));
  EXPECT_TRUE(part(4, 7, 11, {.first_channel = 11, .channels = 22}).equal(whole.narrow(2, 11, 11)));
  const DropoutPart corner{2, 1, 5, 7, 22};
  EXPECT_TRUE(part(2, 4, 3, corner).equal(whole.narrow(0, 2, 2).narrow(1, 1, 4).narrow(2, 5, 3)));
  // Tokens past the end belong to nobody, but must not be read or written out of place.
  EXPECT_TRUE(
      part(4, 4, 22, {.first_token = 4, .tokens = 7}).narrow(1, 0, 3).equal(whole.narrow(1, 4, 3)));
}

TEST(Dropout, RateZeroGivesTheTensorItself) {
  const at::Tensor x = at::ones({8});
  EXPECT_TRUE(dropout(x, 0.0, 1, "a", 0).is_same(x));
}

}  // namespace
}  // namespace lexel::ar
