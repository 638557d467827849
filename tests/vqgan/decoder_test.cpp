#include "vqgan/decoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/support/random_tensor.h"
#include "tests/vqgan/tiny_model.h"
#include "vqgan/patches.h"

namespace lexel::vqgan {
namespace {

TEST(DecoderTest, LogitLaplaceInvertsTheMapOfThePixels) {
  Config config = tests::tiny_config();
  config.output = "logit_laplace";
  auto output = at::full({1, 6, 1, 2}, 7.0);          // ln b is not looked at
  output.narrow(1, 0, 3).fill_(std::log(0.3 / 0.7));  // sigmoid 0.3 -> (0.3 - 0.1) / 0.8
  output[0][2][0][1] = 5.0;                           // sigmoid 0.993 -> past 1, clipped
  const auto pictures = output_pictures(config, output);
  EXPECT_EQ(pictures.sizes(), (std::vector<int64_t>{1, 3, 1, 2}));
  EXPECT_NEAR(pictures[0][0][0][0].item<double>(), 0.25, 1e-6);
  EXPECT_EQ(pictures[0][2][0][1].item<float>(), 1.0F);
}

TEST(DecoderTest, RgbIsTheRawOutput) {
  const auto output = tests::random_tensor(1, {1, 3, 4, 4});
  EXPECT_TRUE(at::equal(output_pictures(tests::tiny_config(), output), output));
}

TEST(DecoderTest, AFreshLinearPathAloneGivesThePicture) {
  for (const bool refine : {true, false}) {
    Config config = tests::tiny_config_with_options();
    if (!refine) config.refine_width = 0;
    const Model model = make_model(config, 1, at::kCPU);
    auto codes = tests::random_tensor(2, {1, 16, 8});
    codes.select(-1, 7).fill_(3.0);
    codes = normalized(config, codes);
    const auto picture = decode_codes(model.decoder, config, codes, 4, 4, at::kBFloat16);
    const auto coefficients = codes.narrow(-1, 0, 7) / codes.narrow(-1, 7, 1);
    const auto expected =
        from_patches(at::matmul(coefficients, model.decoder.linear_path.weight.t()), 4, 4, 4) + 0.5;
    EXPECT_TRUE(at::allclose(picture, expected, 1e-5, 1e-5));
  }
}

TEST(DecoderTest, TheRefineStageLooksAcrossPatchBorders) {
  Config config = tests::tiny_config();
  config.decoder.depth = 0;  // no attention: only the stage can mix patches
  const auto change_elsewhere = [&] {
    const Model model = make_model(config, 3, at::kCPU);
    auto codes = tests::random_tensor(2, {1, 16, 8});
    const auto before = decode_codes(model.decoder, config, codes, 4, 4, at::kFloat);
    codes[0][1] = -codes[0][1];
    const auto after = decode_codes(model.decoder, config, codes, 4, 4, at::kFloat);
    return (after - before).narrow(2, 0, 4).narrow(3, 0, 4).abs().max().item<float>();
  };
  EXPECT_EQ(change_elsewhere(), 0.0F);
  config.refine_width = 4;
  config.refine_depth = 1;
  EXPECT_GT(change_elsewhere(), 0.0F);
}

}  // namespace
}  // namespace lexel::vqgan
