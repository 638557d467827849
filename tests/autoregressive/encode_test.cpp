#include "autoregressive/encode.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "tests/autoregressive/tiny_model.h"

namespace lexel::ar {
namespace {

using kernels::WeightFormat;
using tests::random_ids;
using tests::random_tensor;
using tests::relative_difference;

constexpr int64_t kPieces = 21;  // more than linear_decode takes at once

Model tiny() {
  Config config = tests::tiny_parti();
  config.max_text_tokens = 24;
  config.text_depth = 2;
  Model model = make_model(config, 1, at::kCPU);
  tests::fill_zeros(model);
  return model;
}

TEST(ApplyPacked, IsTheProductWithItsNormActivationAndResidual) {
  const kernels::DecodeLinear linear{
      kernels::pack_weights(random_tensor(1, {24, 16}), WeightFormat::kFloat32),
      random_tensor(2, {24})};
  const at::Tensor x = random_tensor(3, {kPieces, 16}), residual = random_tensor(4, {kPieces, 24});
  const kernels::DecodeNorm norm{random_tensor(5, {16}), random_tensor(6, {16})};
  const at::Tensor got = apply_packed(linear, x, norm, kernels::Activation::kRelu, residual);

  const at::Tensor exact = x.to(at::kDouble);
  const at::Tensor centred = exact - exact.mean(1, true);
  const at::Tensor normed =
      centred / (centred.square().mean(1, true) + 1e-5).sqrt() * norm.weight + norm.bias;
  const at::Tensor wanted =
      (normed.matmul(random_tensor(1, {24, 16}).to(at::kDouble).t()) + linear.bias).clamp_min(0.0) +
      residual;
  EXPECT_LT(relative_difference(got, wanted), 1e-6);
}

TEST(ApplyPacked, ARowGivesTheSameBitsInAnyCompany) {
  const kernels::DecodeLinear linear{
      kernels::pack_weights(random_tensor(1, {40, 16}), WeightFormat::kInt8),
      random_tensor(2, {40})};
  const at::Tensor x = random_tensor(3, {kPieces, 16}), residual = random_tensor(4, {kPieces, 40});
  const auto apply = [&](int64_t first, int64_t last) {
    return apply_packed(linear, x.slice(0, first, last), {}, kernels::Activation::kGelu,
                        residual.slice(0, first, last));
  };
  const at::Tensor all = apply(0, kPieces);
  for (const int64_t row : {0, 15, 16, 20}) {
    EXPECT_TRUE(at::equal(apply(row, row + 1), all.narrow(0, row, 1))) << row;
  }
  EXPECT_TRUE(at::equal(apply(3, kPieces), all.slice(0, 3)));
}

TEST(EncodeCaption, GivesKeysThenValuesOfTheEncodersOutputForEachBlock) {
  const Model model = tiny();
  const at::Tensor pieces = random_ids(7, {kPieces}, model.config.text_vocabulary);
  const std::vector<at::Tensor> got = encode_caption(pack(model, WeightFormat::kFloat32), pieces);

  Model exact = tiny();
  tests::to_double(exact);
  Condition condition;
  condition.text = pieces.unsqueeze(0);
  condition.lengths = random_ids(1, {1}, 1) + kPieces;
  const at::Tensor encoded = encode_text(exact, condition, {.compute = at::kDouble})[0];  // (M, D)
  ASSERT_EQ(got.size(), exact.decoder.size());
  for (size_t block = 0; block < got.size(); ++block) {
    ASSERT_EQ(got[block].sizes(), (at::IntArrayRef{kPieces, 2, 2, 8})) << block;
    const at::Tensor wanted =
        apply_linear(exact.decoder[block].cross.kv, encoded.narrow(0, 0, kPieces));  // (n, 2 D)
    EXPECT_LT(relative_difference(got[block].reshape({kPieces, 32}), wanted), 1e-5) << block;
  }
}

TEST(EncodeCaption, EveryPieceCountsForEveryPlace) {
  const PackedModel packed = pack(tiny(), WeightFormat::kInt8);
  const at::Tensor pieces = random_ids(7, {5}, 40);
  at::Tensor others = pieces.clone();
  others[4].copy_((others[4] + 1).remainder(40));
  const at::Tensor difference =
      (encode_caption(packed, pieces)[0] - encode_caption(packed, others)[0]).abs();
  EXPECT_GT(difference.amax({1, 2, 3}).min().item<float>(), 0.0F);
  EXPECT_EQ(encode_caption(packed, pieces.narrow(0, 0, 1))[1].size(0), 1);
}

}  // namespace
}  // namespace lexel::ar
