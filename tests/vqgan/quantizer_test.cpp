#include "vqgan/quantizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::vqgan {
namespace {

/// Two codes in the plane: a long one to the east, a short one to the north.
struct PlaneTest : testing::Test {
  Config config;
  Quantizer quantizer;
  PlaneTest() {
    config.codebook_size = 2;
    config.code_width = 2;
    quantizer.codebook = at::tensor({10.F, 0.F, 0.F, 1.F}).reshape({2, 2});
  }
  const at::Tensor latent = at::tensor({3.F, 4.F}).reshape({1, 1, 2});
};

TEST_F(PlaneTest, CosineIgnoresLengths) {
  const Quantized q = quantize(quantizer, config, latent);
  EXPECT_EQ(q.ids.item<int64_t>(), 1);  // cosines 0.6, 0.8
  EXPECT_TRUE(at::allclose(q.latents, at::tensor({0.6F, 0.8F}).reshape({1, 1, 2})));
  EXPECT_TRUE(at::allclose(q.codes, at::tensor({0.F, 1.F}).reshape({1, 1, 2})));
}

TEST_F(PlaneTest, PlainCodesAreComparedByDistance) {
  config.normalize_codes = false;
  const Quantized q =
      quantize(quantizer, config, latent * 2);  // (6, 8): 80 from (10, 0), 85 from (0, 1)
  EXPECT_EQ(q.ids.item<int64_t>(), 0);
  EXPECT_TRUE(at::equal(q.latents, latent * 2));
  EXPECT_TRUE(at::equal(q.codes, at::tensor({10.F, 0.F}).reshape({1, 1, 2})));
}

TEST_F(PlaneTest, GradientsGoStraightThroughToTheLatentAndToTheCodebookByTheCodes) {
  auto z = latent.clone().requires_grad_();
  quantizer.codebook.requires_grad_();
  config.normalize_codes = false;
  const Quantized q = quantize(quantizer, config, z);
  const auto weight = at::tensor({2.F, 5.F});
  (q.straight_through * weight).sum().backward();
  EXPECT_TRUE(at::equal(z.grad().flatten(), weight));
  EXPECT_FALSE(quantizer.codebook.grad().defined());
  (q.codes * weight).sum().backward();
  EXPECT_TRUE(
      at::equal(quantizer.codebook.grad(), at::tensor({0.F, 0.F, 2.F, 5.F}).reshape({2, 2})));
}

TEST(QuantizerTest, WhereTheMaskIsFalseTheLatentPasses) {
  Config config;
  config.codebook_size = 16;
  config.code_width = 4;
  Quantizer quantizer{tests::random_tensor(1, {16, 4})};
  const auto latents = tests::random_tensor(2, {2, 3, 4});
  auto mask = at::zeros({2, 3}, at::kBool);
  mask[1][2] = true;
  const Quantized q = quantize(quantizer, config, latents, mask);
  EXPECT_TRUE(at::equal(q.straight_through[0], q.latents[0]));
  EXPECT_TRUE(at::allclose(q.straight_through[1][2], q.codes[1][2], 0, 1e-6));
  EXPECT_FALSE(at::allclose(q.codes[1][2], q.latents[1][2], 0, 1e-3));
}

TEST(QuantizerTest, RefusesAMaskOfAnotherShape) {
  Config config;
  config.code_width = 4;
  const Quantizer quantizer{tests::random_tensor(1, {16, 4})};
  const auto latents = tests::random_tensor(2, {2, 3, 4});
  tests::expect_error(ErrorKind::kUsage, "quantize: expected a bool mask of shape [2, 3], got",
                      [&] {
                        quantize(quantizer, config, latents, at::zeros({3, 2}, at::kBool));
                      });
}

TEST(QuantizerTest, CodesOfIdsAreThoseThatQuantizeGives) {
  for (const bool normalize : {true, false}) {
    Config config;
    config.codebook_size = 16;
    config.code_width = 4;
    config.normalize_codes = normalize;
    const Quantizer quantizer{tests::random_tensor(1, {16, 4})};
    const Quantized q = quantize(quantizer, config, tests::random_tensor(2, {2, 9, 4}));
    EXPECT_TRUE(at::equal(codes_of(quantizer, config, q.ids), q.codes));
  }
}

}  // namespace
}  // namespace lexel::vqgan
