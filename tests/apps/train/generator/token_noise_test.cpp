#include "apps/train/generator/token_noise.h"

#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

namespace lexel::train {
namespace {

at::Tensor ids() { return at::arange(64 * 100).reshape({64, 100}).remainder(512); }

at::Tensor changed(const at::Tensor& seen) { return seen.ne(ids()).to(at::kFloat).mean(1); }  // (B)

TEST(TokenNoise, WithoutNoiseTheTokensThemselvesAreSeen) {
  const at::Tensor tokens = ids();
  EXPECT_TRUE(noisy_tokens(tokens, 512, {}, 1, 0).is_same(tokens));
}

TEST(TokenNoise, ChangesAtMostItsShareAndLeavesItsInputAlone) {
  const at::Tensor tokens = ids();
  const at::Tensor share = changed(noisy_tokens(tokens, 512, {.most = 0.4}, 1, 0));
  EXPECT_LT(share.max().item<float>(), 0.6);
  EXPECT_NEAR(share.mean().item<float>(), 0.2, 0.05);
  EXPECT_TRUE(tokens.equal(ids()));
}

TEST(TokenNoise, BlindPicturesHaveNothingLeft) {
  const at::Tensor share = changed(noisy_tokens(ids(), 512, {.blind = 0.3}, 1, 0));
  const at::Tensor blind = share.gt(0.9);  // a random code is the right one now and then
  EXPECT_NEAR(blind.to(at::kFloat).mean().item<float>(), 0.3, 0.15);
  EXPECT_EQ(share.masked_select(blind.logical_not()).max().item<float>(), 0.0F);
}

TEST(TokenNoise, DependsOnTheSeedAndTheSamplesNumberOnly) {
  const TokenNoise noise{.most = 0.5, .blind = 0.2};
  const at::Tensor all = noisy_tokens(ids(), 512, noise, 7, 100);
  EXPECT_TRUE(noisy_tokens(ids().narrow(0, 10, 5), 512, noise, 7, 110).equal(all.narrow(0, 10, 5)));
  EXPECT_FALSE(noisy_tokens(ids(), 512, noise, 8, 100).equal(all));
}

}  // namespace
}  // namespace lexel::train
