#include "vqgan/convolution.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/support/random_tensor.h"

namespace lexel::vqgan {
namespace {

TEST(ConvolutionTest, AppliesAShiftAndKeepsTheSize) {
  Conv conv;
  conv.weight = at::zeros({1, 1, 3, 3});
  conv.weight[0][0][1][0] = 2.0F;  // twice the left neighbour
  conv.bias = at::zeros({1});
  const auto x = tests::random_tensor(1, {2, 1, 4, 5});
  const auto y = apply_conv(conv, x);
  EXPECT_TRUE(at::equal(y.narrow(3, 1, 4), x.narrow(3, 0, 4) * 2));
  EXPECT_TRUE(at::equal(y.narrow(3, 0, 1), at::zeros({2, 1, 4, 1})));
}

TEST(ConvolutionTest, FreshResidualBlocksAreTheIdentity) {
  std::vector<ResidualBlock> blocks;
  ParameterList list;
  list_residual_blocks("blocks", blocks, 2, 3, "", list);
  EXPECT_EQ(parameter_count(list), 2 * 2 * (9 * 3 * 3 + 3));
  initialise(list, 1, at::kCPU);
  const auto x = tests::random_tensor(2, {1, 3, 4, 4});
  EXPECT_TRUE(at::equal(run_residual_blocks(blocks, x), x));
  blocks[1].second.weight.fill_(0.1);
  EXPECT_FALSE(at::equal(run_residual_blocks(blocks, x), x));
}

}  // namespace
}  // namespace lexel::vqgan
