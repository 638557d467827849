#include "apps/eval/detector/detector.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/full.h>
#include <cmath>
#include <gtest/gtest.h>

#include "apps/eval/detector/detector_file.h"
#include "tests/apps/eval/detector/tiny_detector.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/safetensors.h"

namespace lexel::eval {
namespace {

using tests::expect_error;
using tests::random_tensor;
using tests::random_uniform;
using tests::tiny_detector_config;

/// No tensor is at its first value, so that zeros at the start hide no gradient.
Detector stirred() {
  Detector detector = make_detector(tiny_detector_config(), 3, at::kCPU);
  uint64_t seed = 10;
  for (const Parameter& parameter : parameters(detector))
    parameter.tensor->add_(random_tensor(seed++, parameter.shape), 0.05);
  return detector;
}

TEST(Detector, GivesAMapForEachQuestion) {
  const Detector detector = make_detector(tiny_detector_config(), 1, at::kCPU);
  const DetectorMaps maps = detect(detector, random_uniform(1, {2, 3, 32, 32}));
  EXPECT_EQ(maps.centre.sizes(), at::IntArrayRef({2, 4, 4}));
  EXPECT_EQ(maps.side.sizes(), at::IntArrayRef({2, 4, 4}));
  EXPECT_EQ(maps.things.sizes(), at::IntArrayRef({2, 3, 4, 4}));
  EXPECT_EQ(maps.colours.sizes(), at::IntArrayRef({2, 2, 4, 4}));
  EXPECT_EQ(maps.background.sizes(), at::IntArrayRef({2, 3}));
}

TEST(Detector, APictureIsJudgedAlone) {
  const Detector detector = stirred();
  const at::Tensor pictures = random_uniform(2, {3, 3, 32, 32});
  const DetectorMaps all = detect(detector, pictures);
  const DetectorMaps one = detect(detector, pictures.narrow(0, 1, 1));
  EXPECT_TRUE(at::allclose(all.things[1], one.things[0], 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(all.background[1], one.background[0], 1e-4, 1e-5));
}

TEST(Detector, GradientReachesEveryParameter) {
  Detector detector = stirred();
  const ParameterList list = parameters(detector);
  require_gradients(list, true);
  const DetectorMaps maps = detect(detector, random_uniform(3, {2, 3, 32, 32}));
  (maps.centre.square().sum() + maps.side.square().sum() + maps.things.square().sum() +
   maps.colours.square().sum() + maps.background.square().sum())
      .backward();
  for (const Parameter& parameter : list) {
    ASSERT_TRUE(parameter.tensor->grad().defined()) << parameter.name;
    EXPECT_GT(parameter.tensor->grad().abs().sum().item<double>(), 0.0) << parameter.name;
  }
}

TEST(Detector, ShippedSizeIsSmall) {
  DetectorConfig config = tiny_detector_config();
  const DetectorConfig standard;
  config.fine_width = standard.fine_width;
  config.middle_width = standard.middle_width;
  config.coarse_width = standard.coarse_width;
  config.middle_blocks = config.coarse_blocks = standard.middle_blocks;
  config.hidden = standard.hidden;
  Detector detector = detector_layout(config);
  EXPECT_LT(parameter_count(parameters(detector)), 1'500'000);
}

TEST(Detector, RefusesWhatCannotBe) {
  const auto with = [](auto change) {
    DetectorConfig config = tiny_detector_config();
    change(config);
    return config;
  };
  expect_error(ErrorKind::kUsage, "image_size",
               [&] { validate(with([](DetectorConfig& c) { c.image_size = 100; })); });
  expect_error(ErrorKind::kUsage, "threshold",
               [&] { validate(with([](DetectorConfig& c) { c.threshold = NAN; })); });
  expect_error(ErrorKind::kUsage, "hidden",
               [&] { validate(with([](DetectorConfig& c) { c.hidden = int64_t{1} << 40; })); });
  expect_error(ErrorKind::kUsage, "things",
               [&] { validate(with([](DetectorConfig& c) { c.things = "cat|dog|cat"; })); });
  expect_error(ErrorKind::kUsage, "colours",
               [&] { validate(with([](DetectorConfig& c) { c.colours = ""; })); });
  const Detector detector = make_detector(tiny_detector_config(), 1, at::kCPU);
  expect_error(ErrorKind::kUsage, "detect: expected (B, 3, 32, 32)", [&] {
    detect(detector, random_uniform(1, {1, 3, 16, 16}));
  });
}

TEST(DetectorFile, ComesBackAsItWas) {
  const tests::TemporaryFolder folder;
  const std::string path = (folder / "detector.safetensors").string();
  const Detector detector = stirred();
  const at::Tensor pictures = random_uniform(4, {1, 3, 32, 32});
  write_model_file(path, detector_file(detector, at::kFloat));
  const Detector back = load_detector(path, at::kCPU);
  EXPECT_EQ(back.config.things, "ball|cat|house");
  EXPECT_DOUBLE_EQ(back.config.threshold, detector.config.threshold);
  EXPECT_TRUE(detect(back, pictures).things.equal(detect(detector, pictures).things));

  write_model_file(path, detector_file(detector, at::kBFloat16));
  const at::Tensor rounded = detect(load_detector(path, at::kCPU), pictures).things;
  EXPECT_FALSE(rounded.equal(detect(detector, pictures).things));
  EXPECT_TRUE(at::allclose(rounded, detect(detector, pictures).things, 0.1, 0.1));
}

TEST(DetectorFile, RefusesHostileFiles) {
  const ModelFile good = detector_file(stirred(), at::kFloat);
  const auto read = [&](auto change) {
    ModelFile file = good;
    change(file);
    return read_detector(file, "bad.safetensors", at::kCPU);
  };
  expect_error(ErrorKind::kUnsupported, "bad.safetensors: expected a model of kind scene_detector",
               [&] { read([](ModelFile& f) { f.kind = "vit_vqgan"; }); });
  expect_error(ErrorKind::kBadData, "\"stem.weight\" is missing",
               [&] { read([](ModelFile& f) { f.tensors.erase("stem.weight"); }); });
  expect_error(ErrorKind::kBadData, "tensor \"more\" is unexpected",
               [&] { read([](ModelFile& f) { f.tensors["more"] = at::full({1}, 1.0); }); });
  expect_error(ErrorKind::kBadData, "\"background.bias\": expected shape [3], got [4]", [&] {
    read([](ModelFile& f) { f.tensors["background.bias"] = at::full({4}, 1.0); });
  });
  expect_error(ErrorKind::kBadData, "\"halve.bias\" holds a value that is not finite", [&] {
    read([](ModelFile& f) { f.tensors["halve.bias"] = at::full({6}, INFINITY); });
  });
  expect_error(ErrorKind::kBadData, "bad.safetensors",
               [&] { read([](ModelFile& f) { f.config = "{}"; }); });
  // A width that would take terabytes is refused by its shape, before any memory.
  expect_error(ErrorKind::kBadData, "middle_width", [&] {
    read([](ModelFile& f) {
      const auto at = f.config.find("\"middle_width\":6");
      ASSERT_NE(at, std::string::npos);
      f.config.replace(at, 16, "\"middle_width\":99999999");
    });
  });
}

}  // namespace
}  // namespace lexel::eval
