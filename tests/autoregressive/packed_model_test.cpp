#include "autoregressive/packed_model.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>
#include <limits>

#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"

namespace lexel::ar {
namespace {

using kernels::WeightFormat;
using tests::expect_error;

Model tiny() {
  Model model = make_model(tests::tiny_parti(), 1, at::kCPU);
  tests::fill_zeros(model);
  return model;
}

TEST(PackedModel, NamesWhatCannotBePacked) {
  Config config = tests::tiny_parti();
  config.heads = 4;
  expect_error(ErrorKind::kUsage, "4 heads of width 4",
               [&] { pack(make_model(config, 1, at::kCPU), WeightFormat::kInt8); });
  for (const WeightFormat format :
       {WeightFormat::kFloat32, WeightFormat::kBFloat16, WeightFormat::kInt8}) {
    Model model = make_model(tests::tiny_parti(), 1, at::kCPU);
    model.decoder[1].feed_forward.up.weight[3][2] = std::numeric_limits<float>::quiet_NaN();
    expect_error(ErrorKind::kBadData, "decoder.blocks.1.feed_forward.up.weight: expected finite",
                 [&] { pack(model, format); });
  }
}

TEST(PackedModel, UnpackGivesEveryTensorBack) {
  Model model = tiny();
  Model same = unpack(pack(model, WeightFormat::kFloat32));
  const ParameterList wanted = parameters(model), got = parameters(same);
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_TRUE(at::equal(*got[i].tensor, *wanted[i].tensor)) << wanted[i].name;
  }
}

TEST(PackedModel, MatricesAreReleasedTheRestStays) {
  const Model model = tiny();
  const PackedModel packed = pack(model, WeightFormat::kInt8);
  EXPECT_FALSE(packed.model.softmax.weight.defined());
  EXPECT_FALSE(packed.model.encoder[0].attention.qkv.weight.defined());
  EXPECT_FALSE(packed.model.decoder[1].cross.kv.weight.defined());
  EXPECT_TRUE(packed.model.token_embedding.equal(model.token_embedding));
  EXPECT_TRUE(packed.blocks[1].up.bias.equal(model.decoder[1].feed_forward.up.bias));
  EXPECT_TRUE(packed.blocks[1].cross_norm.weight.equal(model.decoder[1].cross.norm.weight));
}

TEST(PackedModel, Int8RoundsEachMatrixByItself) {
  const Model model = tiny();
  const Model rounded = unpack(pack(model, WeightFormat::kInt8));
  const auto alone = [](const Linear& linear) {
    return kernels::unpack_weights(kernels::pack_weights(linear.weight, WeightFormat::kInt8));
  };
  EXPECT_TRUE(rounded.softmax.weight.equal(alone(model.softmax)));
  EXPECT_TRUE(rounded.decoder[0].cross.kv.weight.equal(alone(model.decoder[0].cross.kv)));
  EXPECT_FALSE(rounded.softmax.weight.equal(model.softmax.weight));
}

TEST(PackedModel, PositionsAreOfRowPlusColumn) {
  const Model model = tiny();
  const PackedModel packed = pack(model, WeightFormat::kFloat32);
  ASSERT_EQ(packed.positions.sizes(), (at::IntArrayRef{30, 16}));
  EXPECT_TRUE(
      packed.positions[2 * 6 + 5].equal(model.row_positions[2] + model.column_positions[5]));
}

TEST(PackedModel, MasksAndActivationsAreThoseOfTheConfig) {
  Config config = tests::tiny_parti();  // conv_layers "1", kernel 3, 6 columns
  config.activation = "relu";
  const PackedModel packed = pack(make_model(config, 1, at::kCPU), WeightFormat::kFloat32);
  EXPECT_EQ(packed.blocks[0].mask.kind, kernels::AttentionMask::causal().kind);
  EXPECT_EQ(packed.blocks[1].mask.kind, kernels::AttentionMask::conv(6, 3).kind);
  EXPECT_EQ(packed.encoder[0].activation, kernels::Activation::kRelu);
  EXPECT_EQ(packed.blocks[1].activation, kernels::Activation::kRelu);
}

TEST(PackedModel, BytesAreThoseOfTheFormat) {
  Config config = tests::tiny_parti();
  config.width = 64;
  config.hidden = 256;
  Model model = make_model(config, 1, at::kCPU);
  const int64_t wide = weight_bytes(pack(model, WeightFormat::kFloat32));
  EXPECT_GE(wide, 4 * parameter_count(parameters(model)));
  EXPECT_LT(weight_bytes(pack(model, WeightFormat::kBFloat16)), wide * 6 / 10);
  EXPECT_LT(weight_bytes(pack(model, WeightFormat::kInt8)), wide * 4 / 10);
}

}  // namespace
}  // namespace lexel::ar
