#include "spae/model.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <map>

#include "tests/spae/tiny_spae.h"
#include "tests/support/expect_error.h"

namespace lexel::spae {
namespace {

using tests::expect_error;
using tests::random_tensor;
using tests::random_uniform;
using tests::tiny_spae;
using tests::tiny_spae_model;
using tests::tiny_spae_with_options;

class BodyTest : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Bodies, BodyTest, testing::Values("cnn", "vit"),
                         [](const auto& info) { return info.param; });

TEST_P(BodyTest, ShapesOfAForwardPass) {
  const Model model = tiny_spae_model(tiny_spae(GetParam()));
  const auto images = random_uniform(2, {3, 3, 16, 16});
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    ForwardOptions options;
    options.compute = compute;
    const Forward f = forward(model, images, options);
    EXPECT_EQ(f.latents.sizes(), at::IntArrayRef({3, 16, 8}));
    EXPECT_EQ(f.pictures.sizes(), images.sizes());
    EXPECT_EQ(f.pictures.scalar_type(), at::kFloat);
    EXPECT_EQ(f.choices.size(), 4U);
    EXPECT_EQ(ids_of(f.choices).sizes(), at::IntArrayRef({3, 37}));
    const auto lengths = at::linalg_vector_norm(f.latents, 2, at::IntArrayRef{-1});
    EXPECT_LT((lengths - 1).abs().max().item<float>(), 1e-5F);
  }
}

TEST_P(BodyTest, TheGradientReachesEveryParameter) {
  Model model = tiny_spae_model(tiny_spae_with_options(GetParam()));
  const ParameterList list = parameters(model);
  for (const Parameter& parameter : list) {  // fresh residual blocks let nothing past
    if (parameter.init.kind == Init::Kind::kZeros && parameter.trained) {
      parameter.tensor->copy_(random_tensor(9, parameter.shape) * 0.1);
    }
  }
  require_gradients(list, true);
  ForwardOptions options;
  options.features = random_tensor(4, {2, 6});
  const Forward f = forward(model, random_uniform(2, {2, 3, 16, 16}), options);
  (f.pictures * random_tensor(5, {2, 3, 16, 16})).sum().backward();
  for (const Parameter& parameter : list) {
    if (!parameter.trained) continue;
    ASSERT_TRUE(parameter.tensor->grad().defined()) << parameter.name;
    EXPECT_GT(parameter.tensor->grad().abs().max().item<float>(), 0.F) << parameter.name;
  }
  EXPECT_FALSE(model.codebook.codes.requires_grad());
}

TEST_P(BodyTest, NamedTensorsMakeTheSameModel) {
  const Config config = tiny_spae_with_options(GetParam());
  Model one = tiny_spae_model(config, 1), other = tiny_spae_model(config, 2);
  const auto images = random_uniform(2, {2, 3, 16, 16});
  const auto features = random_tensor(3, {2, 6});
  EXPECT_FALSE(at::equal(encode(one, images, features), encode(other, images, features)));
  std::map<std::string, at::Tensor> saved;
  for (const auto& [name, tensor] : named_tensors(parameters(one))) saved[name] = tensor.clone();
  assign(parameters(other), saved);
  const auto ids = encode(one, images, features);
  EXPECT_TRUE(at::equal(encode(other, images, features), ids));
  EXPECT_TRUE(at::equal(decode(other, ids), decode(one, ids)));
}

TEST_P(BodyTest, APictureDoesNotDependOnItsBatchOrTheThreads) {
  const Model model = tiny_spae_model(tiny_spae(GetParam()));
  const auto images = random_uniform(6, {5, 3, 16, 16});
  const auto ids = encode(model, images);
  EXPECT_TRUE(at::equal(encode(model, images.narrow(0, 3, 1)), ids.narrow(0, 3, 1)));
  const auto pictures = decode(model, ids);
  EXPECT_TRUE(at::equal(decode(model, ids.narrow(0, 3, 1)), pictures.narrow(0, 3, 1)));
  at::set_num_threads(3);
  EXPECT_TRUE(at::equal(encode(model, images), ids));
  EXPECT_TRUE(at::equal(decode(model, ids), pictures));
  at::set_num_threads(1);
  EXPECT_EQ(encode(model, images.narrow(0, 0, 0)).sizes(), at::IntArrayRef({0, 37}));
}

TEST_P(BodyTest, EveryPrefixOfLayersIsDrawn) {
  const Model model = tiny_spae_model(tiny_spae(GetParam()));
  const auto images = random_uniform(6, {2, 3, 16, 16});
  const auto ids = encode(model, images);
  at::Tensor before = at::zeros_like(images);
  for (int64_t layers = 1; layers <= 4; ++layers) {
    const auto prefix = ids.narrow(1, 0, model.pyramid.tokens(layers));
    EXPECT_TRUE(at::equal(encode(model, images, {}, layers), prefix));
    const auto pictures = decode(model, prefix);
    EXPECT_FALSE(at::equal(pictures, before));
    // forward() with so many layers draws the same, up to the order of sums.
    ForwardOptions options;
    options.layers = {layers};
    EXPECT_TRUE(
        at::allclose(forward(model, images, options).pictures.clamp(0, 1), pictures, 1e-4, 1e-4));
    before = pictures;
  }
  ForwardOptions options;
  options.layers = {1, 4};
  const auto mixed = forward(model, images, options).pictures.clamp(0, 1);
  EXPECT_TRUE(at::allclose(mixed[1], before[1], 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(mixed[0], decode(model, ids.narrow(1, 0, 1))[0], 1e-4, 1e-4));
}

TEST(ModelTest, WarmUpLetsTheLatentsThrough) {
  const Model model = tiny_spae_model(tiny_spae("vit"));
  const auto images = random_uniform(6, {2, 3, 16, 16});
  ForwardOptions options;
  options.quantization = 0.0;
  const Forward f = forward(model, images, options);
  const auto inputs = decoder_input(model.pyramid, f.latents, {4}, false);
  EXPECT_TRUE(at::allclose(f.pictures, vit_pictures(model.vit, model.config, inputs, at::kFloat)));
  EXPECT_FALSE(at::allclose(f.pictures, forward(model, images, {}).pictures));
}

TEST(ModelTest, FreshUpperLayersAreTheFeaturesAlone) {
  const Model model = tiny_spae_model(tiny_spae_with_options("vit"));
  const auto features = random_tensor(3, {1, 6}), others = random_tensor(4, {1, 6});
  const auto one = random_uniform(6, {1, 3, 16, 16}), two = random_uniform(7, {1, 3, 16, 16});
  const auto upper = [&](const at::Tensor& images, const at::Tensor& known) {
    const auto latents = encode_latents(model, images, known, at::kFloat);
    return at::cat({latents.select(1, model.pyramid.positions[0][0]),
                    latents.select(1, model.pyramid.positions[1][3])});
  };
  EXPECT_TRUE(at::equal(upper(one, features), upper(two, features)));
  EXPECT_FALSE(at::allclose(upper(one, features), upper(one, others)));
  EXPECT_FALSE(at::allclose(upper(one, features)[0], upper(one, features)[1]));  // a head each
}

TEST(ModelTest, ParameterCountsArePlausible) {
  const auto count = [](const Config& config) {
    Model model = model_layout(config);
    return parameter_count(parameters(model), /*trained_only=*/true);
  };
  Config wide = spae_6();
  EXPECT_NEAR(static_cast<double>(count(wide)), 51.7e6, 0.1e6);
  wide.code_width = 1024;
  EXPECT_GT(count(wide), 55'000'000);
  EXPECT_EQ(count(spae_8()) - count(spae_6()), 2 * 9 * 512);  // two more visit counts to mark
  EXPECT_LT(count(spae_128()), 3'200'000);
}

TEST(ModelTest, RefusesWhatDoesNotFit) {
  const Model model = tiny_spae_model(tiny_spae("vit"));
  const auto images = random_uniform(6, {2, 3, 16, 16});
  expect_error(ErrorKind::kUsage, "expected (B, 3, 16, 16) float32 images", [&] {
    encode(model, random_uniform(6, {2, 3, 16, 24}));
  });
  expect_error(ErrorKind::kUsage, "expected no features", [&] {
    encode(model, images, at::zeros({2, 6}));
  });
  expect_error(ErrorKind::kUsage, "expected (2, 6) float32 features, got none",
               [&] { encode(tiny_spae_model(tiny_spae_with_options("vit")), images); });
  expect_error(ErrorKind::kUsage, "expected 1 to 4 layers, got 5",
               [&] { encode(model, images, {}, 5); });
  expect_error(ErrorKind::kUsage, "expected (B, tokens) int64 ids, got Float", [&] {
    decode(model, at::zeros({1, 5}));
  });
  expect_error(ErrorKind::kBadData, "in the middle of layer 2: expected 5 to its end, got 4", [&] {
    decode(model, at::zeros({1, 4}, at::kLong));
  });
  expect_error(ErrorKind::kBadData, "expected ids in 0 to 39, got 40", [&] {
    decode(model, at::zeros({1, 5}, at::kLong) + 40);
  });
  ForwardOptions options;
  options.quantization = 1.5;
  expect_error(ErrorKind::kUsage, "quantization of 0 to 1, got 1.5",
               [&] { forward(model, images, options); });
  expect_error(ErrorKind::kUsage, "expected 40 words with codes of 8, got 40 with codes of 9",
               [] { make_model(tiny_spae("vit"), tests::random_words(1, 40, 9), 1, at::kCPU); });
}

}  // namespace
}  // namespace lexel::spae
