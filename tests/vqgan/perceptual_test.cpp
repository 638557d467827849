#include "vqgan/perceptual.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/philox.h"
#include "tests/support/expect_error.h"
#include "tests/support/finite_difference.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/preprocess.h"
#include "tokenizers/io/torch_checkpoint.h"

namespace lexel::vqgan {
namespace {

using tests::expect_error;
using tests::random_tensor;
using tests::random_uniform;
using tests::relative_difference;
using Tensors = std::map<std::string, at::Tensor>;

// A net of random weights in the layout of the package, each convolution keeping the scale of its input.
Tensors make_random_weights() {
  Tensors tensors;
  const auto add_conv = [&](const std::string& conv, const std::string& norm,
                            const std::vector<int64_t>& shape) {
    const double fan_in = static_cast<double>(shape[1] * shape[2] * shape[3]);
    const uint64_t seed = fnv1a(conv);
    tensors[conv + ".weight"] = random_tensor(seed, shape) * (1.5 / std::sqrt(fan_in));
    tensors[norm + ".weight"] = random_uniform(seed + 1, {shape[0]}) + 0.5;
    tensors[norm + ".bias"] = random_tensor(seed + 2, {shape[0]}) * 0.3;
    tensors[norm + ".running_mean"] = random_tensor(seed + 3, {shape[0]}) * 0.1;
    tensors[norm + ".running_var"] = random_uniform(seed + 4, {shape[0]}) + 0.5;
  };
  struct Stage {
    int64_t blocks, kernel, expansion, channels;
  };
  const std::vector<Stage> stages = {{1, 3, 1, 16},  {2, 3, 6, 24},  {2, 5, 6, 40}, {3, 3, 6, 80},
                                     {3, 5, 6, 112}, {4, 5, 6, 192}, {1, 3, 6, 320}};
  add_conv("_conv_stem", "_bn0", {32, 3, 3, 3});
  int64_t in = 32;
  int64_t number = 0;
  for (const Stage& stage : stages) {
    for (int64_t i = 0; i < stage.blocks; ++i) {
      const std::string prefix = concat("_blocks.", number++, ".");
      const int64_t wide = in * stage.expansion;
      if (stage.expansion > 1) add_conv(prefix + "_expand_conv", prefix + "_bn0", {wide, in, 1, 1});
      add_conv(prefix + "_depthwise_conv", prefix + "_bn1", {wide, 1, stage.kernel, stage.kernel});
      add_conv(prefix + "_project_conv", prefix + "_bn2", {stage.channels, wide, 1, 1});
      in = stage.channels;
    }
  }
  add_conv("_conv_head", "_bn1", {1280, 320, 1, 1});
  tensors["_fc.weight"] = random_tensor(1, {1000, 1280}) * 0.03;
  tensors["_fc.bias"] = random_tensor(2, {1000});
  return tensors;
}

const Tensors& random_weights() {
  static const Tensors weights = make_random_weights();
  return weights;
}

PerceptualNet random_net(at::ScalarType dtype) {
  return make_perceptual_net(random_weights(), dtype, at::kCPU);
}

TEST(PerceptualNet, SevenStagesOfTheDocumentedShapes) {
  const at::NoGradGuard no_gradient;
  const std::vector<at::Tensor> maps =
      features(random_net(at::kFloat), random_uniform(1, {2, 3, 96, 64}));
  const std::vector<int64_t> channels = {16, 24, 40, 80, 112, 192, 320};
  const std::vector<int64_t> strides = {2, 4, 8, 16, 16, 32, 32};
  ASSERT_EQ(maps.size(), 7U);
  for (size_t i = 0; i < maps.size(); ++i) {
    EXPECT_EQ(maps[i].sizes(), at::IntArrayRef({2, channels[i], 96 / strides[i], 64 / strides[i]}));
  }
}

TEST(PerceptualNet, TakesSidesThatNoStrideDivides) {
  const at::NoGradGuard no_gradient;
  const std::vector<at::Tensor> maps =
      features(random_net(at::kFloat), random_uniform(1, {1, 3, 45, 33}));
  EXPECT_EQ(maps.front().sizes(), at::IntArrayRef({1, 16, 23, 17}));
  EXPECT_EQ(maps.back().sizes(), at::IntArrayRef({1, 320, 2, 2}));
}

TEST(PerceptualNet, PicturesThatRequireAGradientGiveTheSameFeatures) {
  // In bfloat16 they take another way through the strided convolutions on a CPU.
  const PerceptualNet net = random_net(at::kBFloat16);
  for (const int64_t height : {64, 45}) {
    const at::Tensor images = random_uniform(1, {1, 3, height, 50});
    const std::vector<at::Tensor> plain = features(net, images);
    const std::vector<at::Tensor> traced = features(net, images.clone().requires_grad_());
    for (size_t i = 0; i < plain.size(); ++i) {
      EXPECT_LT(relative_difference(traced[i], plain[i]), 0.02) << height << " stage " << i;
    }
  }
}

TEST(PerceptualNet, FoldedNormalisationsEqualThoseThatAreNot) {
  // Stem and block 0 as the package's author runs them: pad, convolution, batch normalisation, ReLU6.
  const at::NoGradGuard no_gradient;
  Tensors weights = random_weights();
  for (auto& [name, value] : weights) value = value.to(at::kDouble);
  const auto normalise = [&](const at::Tensor& x, const std::string& norm) {
    return at::batch_norm(x, weights[norm + ".weight"], weights[norm + ".bias"],
                          weights[norm + ".running_mean"], weights[norm + ".running_var"], false,
                          0.0, 1e-3, false);
  };
  const at::Tensor images = random_uniform(1, {2, 3, 32, 32}).to(at::kDouble);
  at::Tensor x = at::constant_pad_nd((images * 255 - 127) / 128, {0, 1, 0, 1});
  x = normalise(at::conv2d(x, weights["_conv_stem.weight"], {}, 2), "_bn0").clamp(0, 6);
  x = at::conv2d(x, weights["_blocks.0._depthwise_conv.weight"], {}, 1, 1, 1, 32);
  x = normalise(x, "_blocks.0._bn1").clamp(0, 6);
  x = normalise(at::conv2d(x, weights["_blocks.0._project_conv.weight"]), "_blocks.0._bn2");
  const at::Tensor result = features(random_net(at::kDouble), images)[0];
  EXPECT_LT(relative_difference(result, x), 1e-12);
}

TEST(PerceptualNet, Bfloat16IsNearFloat32) {
  const at::NoGradGuard no_gradient;
  const at::Tensor images = random_uniform(1, {2, 3, 64, 64});
  const at::Tensor other = random_uniform(2, {2, 3, 64, 64});
  const double wanted = perceptual_loss(random_net(at::kFloat), images, other).item<double>();
  const double result = perceptual_loss(random_net(at::kBFloat16), images, other).item<double>();
  EXPECT_NEAR(result, wanted, 0.03 * wanted);
}

TEST(PerceptualNet, DepthFeaturesAreMeansOfTheStagesAndTheHead) {
  const at::NoGradGuard no_gradient;
  const PerceptualNet net = random_net(at::kFloat);
  const at::Tensor images = random_uniform(1, {2, 3, 64, 48});
  const at::Tensor features = depth_features(net, images);
  ASSERT_EQ(features.sizes(), at::IntArrayRef({2, kDepthFeatures}));
  const std::vector<at::Tensor> stages = lexel::vqgan::features(net, images);
  int64_t begin = 0;
  for (size_t i = 1; i <= 5; ++i) {
    const int64_t channels = stages[i].size(1);
    EXPECT_TRUE(at::equal(features.narrow(1, begin, channels), stages[i].mean({2, 3}))) << i;
    begin += channels;
  }
  const at::Tensor pooled = pooled_features(net, images);
  EXPECT_TRUE(at::equal(features.narrow(1, begin, 1280), pooled));
  EXPECT_TRUE(at::equal(class_scores(net, pooled), classify(net, images)));
}

TEST(PerceptualNet, ANetMadeOfItsListedTensorsIsTheSame) {
  const at::NoGradGuard no_gradient;
  PerceptualNet net = random_net(at::kFloat);
  PerceptualNet other = perceptual_layout();
  const auto tensors = named_tensors(parameters(net));
  for (const Parameter& parameter : parameters(other)) {
    EXPECT_FALSE(parameter.trained);
    ASSERT_EQ(tensors.at(parameter.name).sizes(), at::IntArrayRef(parameter.shape))
        << parameter.name;
    *parameter.tensor = tensors.at(parameter.name);
  }
  const at::Tensor images = random_uniform(1, {1, 3, 45, 33});
  EXPECT_TRUE(at::equal(classify(other, images), classify(net, images)));
}

TEST(PerceptualNet, NamesTheTensorThatIsWrong) {
  const auto rejects = [](const std::string& text, auto&& change) {
    Tensors tensors = random_weights();
    change(tensors);
    expect_error(ErrorKind::kBadData, text,
                 [&] { make_perceptual_net(tensors, at::kFloat, at::kCPU); });
  };
  rejects("no tensor _blocks.3._bn1.running_var",
          [](Tensors& t) { t.erase("_blocks.3._bn1.running_var"); });
  rejects("_conv_head.weight", [](Tensors& t) { t["_conv_head.weight"] = at::zeros({3}); });
  rejects("_fc.bias is not finite",
          [](Tensors& t) { t["_fc.bias"] = at::full({1000}, NAN, at::kFloat); });
}

TEST(PerceptualNet, RejectsOtherPictures) {
  const PerceptualNet net = random_net(at::kFloat);
  const auto rejects = [&](const std::vector<int64_t>& shape) {
    expect_error(ErrorKind::kUsage, "32 pixels", [&] { features(net, at::zeros(shape)); });
  };
  rejects({1, 3, 31, 64});
  rejects({1, 1, 64, 64});
  rejects({3, 64, 64});
  expect_error(ErrorKind::kUsage, "one shape", [&] {
    perceptual_loss(net, at::zeros({1, 3, 32, 32}), at::zeros({1, 3, 64, 64}));
  });
}

TEST(FeatureDistance, HandMade) {
  const auto map = [](double first, double second) {
    return at::tensor({first, second}, at::kDouble).reshape({1, 2, 1, 1});
  };
  const auto distance = [](const at::Tensor& a, const at::Tensor& b) {
    return feature_distance({a}, {b}).item<double>();
  };
  EXPECT_EQ(distance(map(1, 2), map(1, 2)), 0);
  EXPECT_NEAR(distance(map(1, 0), map(0, 5)), 2, 1e-9);        // at right angles
  EXPECT_NEAR(distance(map(1, 0), map(-3, 0)), 4, 1e-9);       // opposite
  EXPECT_NEAR(distance(map(3, 4), map(0.3, 0.4)), 0, 1e-9);    // of one direction
  const std::vector<at::Tensor> two = {map(1, 0), map(1, 0)};  // layers are averaged
  EXPECT_NEAR(feature_distance(two, {map(1, 0), map(0, 1)}).item<double>(), 1, 1e-9);
}

TEST(FeatureDistance, RejectsListsThatDoNotFit) {
  const at::Tensor map = at::zeros({1, 2, 3, 3});
  expect_error(ErrorKind::kUsage, "one length", [&] { feature_distance({map}, {}); });
  expect_error(ErrorKind::kUsage, "one shape", [&] {
    feature_distance({map}, {at::zeros({1, 2, 4, 4})});
  });
}

TEST(PerceptualLoss, IsZeroForEqualPictures) {
  const at::Tensor images = random_uniform(1, {1, 3, 32, 32});
  EXPECT_EQ(perceptual_loss(random_net(at::kFloat), images, images).item<double>(), 0);
}

TEST(PerceptualLoss, MovesTheReconstructionsOnly) {
  const at::Tensor images = random_uniform(1, {2, 3, 32, 32}).requires_grad_();
  const at::Tensor pictures = random_uniform(2, {2, 3, 32, 32}).requires_grad_();
  perceptual_loss(random_net(at::kFloat), pictures, images).backward();
  EXPECT_FALSE(images.grad().defined());
  EXPECT_EQ((pictures.grad() == 0).sum().item<int64_t>(), 0);  // every pixel is seen
}

TEST(FeatureDistance, GradientAgreesWithFiniteDifferences) {
  const PerceptualNet net = random_net(at::kDouble);
  const at::Tensor images = random_uniform(1, {1, 3, 32, 32}).to(at::kDouble);
  const at::Tensor pictures = random_uniform(2, {1, 3, 32, 32}).to(at::kDouble);
  const std::vector<at::Tensor> targets = features(net, images);
  // The three channels of the last row's first pixel; the rest is constant.
  const auto distance = [&](const at::Tensor& pixel) {
    const at::Tensor row = at::cat({pixel, pictures.narrow(2, 31, 1).narrow(3, 1, 31)}, 3);
    const at::Tensor picture = at::cat({pictures.narrow(2, 0, 31), row}, 2);
    return feature_distance(features(net, picture), targets).mean();
  };
  const at::Tensor pixel = pictures.narrow(2, 31, 1).narrow(3, 0, 1).contiguous();
  EXPECT_LT(tests::gradient_error(distance, pixel), 1e-5);
}

// --- the real weights, where setup/test_data.sh put them ---------------------------------------------

const std::string kCache = LEXEL_CACHE_DIR;

bool have_weights() {
  return std::filesystem::exists(kCache + "/efficientnet-lite0/efficientnet-lite0-57934424.pth");
}

PerceptualNet real_net(at::ScalarType dtype) {
  return make_perceptual_net(
      read_torch_checkpoint(kCache + "/efficientnet-lite0/efficientnet-lite0-57934424.pth"), dtype,
      at::kCPU);
}

// The photo of scikit-image, its middle square at 224 pixels; undefined where there is none.
at::Tensor photo(const std::string& name) {
  for (const auto& entry : std::filesystem::directory_iterator(kCache + "/test-python/lib")) {
    const std::string path = entry.path() / "site-packages/skimage/data" / name;
    if (!std::filesystem::exists(path)) continue;
    const Preprocess preprocess{.image_size = 224, .fit = "crop", .kernel = "bicubic"};
    return prepare(read_image(path), preprocess).tiles;
  }
  return {};
}

struct Labelled {
  std::string file;
  std::vector<int64_t> classes;  // of ImageNet
};

void PrintTo(const Labelled& labelled, std::ostream* out) { *out << labelled.file; }

class RealNet : public testing::TestWithParam<Labelled> {};

TEST_P(RealNet, NamesWhatAPhotoShows) {
  if (!have_weights()) GTEST_SKIP() << "no weights in " << kCache << " (setup/test_data.sh)";
  if (!std::filesystem::exists(kCache + "/test-python/lib")) GTEST_SKIP() << "no photos";
  const at::Tensor picture = photo(GetParam().file);
  if (!picture.defined()) GTEST_SKIP() << "no " << GetParam().file;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::NoGradGuard no_gradient;
    const int64_t best = classify(real_net(dtype), picture).argmax(1).item<int64_t>();
    EXPECT_THAT(GetParam().classes, testing::Contains(best));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Photos, RealNet,
    testing::Values(Labelled{"chelsea.png", {281, 282, 285}},     // tabby, tiger cat, Egyptian cat
                    Labelled{"coffee.png", {967}},                // espresso
                    Labelled{"rocket.jpg", {657, 744}},           // missile, projectile
                    Labelled{"motorcycle_left.png", {665, 670}},  // moped, motor scooter
                    Labelled{"camera.png", {872}}),               // tripod
    [](const auto& one) { return one.param.file.substr(0, one.param.file.find('.')); });

TEST(RealWeights, DistanceGrowsWithTheDamage) {
  if (!have_weights()) GTEST_SKIP() << "no weights in " << kCache << " (setup/test_data.sh)";
  const at::NoGradGuard no_gradient;
  const PerceptualNet net = real_net(at::kFloat);
  const at::Tensor picture = std::filesystem::exists(kCache + "/test-python/lib")
                                 ? photo("chelsea.png")
                                 : random_uniform(1, {1, 3, 224, 224});
  if (!picture.defined()) GTEST_SKIP() << "no photo";
  const at::Tensor noise = random_tensor(3, {1, 3, 224, 224});
  double last = 0;
  for (const double strength : {0.02, 0.05, 0.1, 0.2}) {
    const at::Tensor damaged = (picture + strength * noise).clamp(0, 1);
    const double distance = perceptual_loss(net, damaged, picture).item<double>();
    EXPECT_GT(distance, last) << strength;
    last = distance;
  }
}

TEST(RealWeights, PooledFeaturesGiveTheScores) {
  if (!have_weights()) GTEST_SKIP() << "no weights in " << kCache << " (setup/test_data.sh)";
  const at::NoGradGuard no_gradient;
  const PerceptualNet net = real_net(at::kFloat);
  const at::Tensor images = random_uniform(1, {2, 3, 64, 64});
  const at::Tensor pooled = pooled_features(net, images);
  EXPECT_EQ(pooled.sizes(), at::IntArrayRef({2, 1280}));
  EXPECT_LT(relative_difference(classify(net, images),
                                pooled.matmul(net.classifier_weight.t()) + net.classifier_bias),
            1e-5);
}

}  // namespace
}  // namespace lexel::vqgan
