#include "tokenizers/guide_file.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/finite_difference.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::random_tensor;
using tests::random_uniform;
using tests::relative_difference;

/// Random weights that keep the scale of their inputs.
spae::DualEncoder random_guide() {
  spae::GuideConfig config;
  config.image_size = 32;
  config.hidden = 16;
  config.word_width = 8;
  spae::DualEncoder guide = spae::dual_encoder_layout(config);
  uint64_t seed = 1;
  for (const Parameter& parameter : all_parameters(guide)) {
    int64_t inputs = 1;
    for (size_t i = 1; i < parameter.shape.size(); ++i) inputs *= parameter.shape[i];
    *parameter.tensor =
        random_tensor(seed++, parameter.shape) * (1.2 / std::sqrt(static_cast<double>(inputs)));
  }
  return guide;
}

const spae::DualEncoder& guide() {
  static const spae::DualEncoder random = random_guide();
  return random;
}

TEST(GuideFile, SavedAndReadItSaysTheSame) {
  const tests::TemporaryFolder folder;
  const std::string path = folder / "guide.safetensors";
  write_model_file(path, guide_file(guide(), at::kFloat, "{\"steps\":3}", "MIT"));
  const spae::DualEncoder read = load_guide(path, at::kCPU);
  const at::Tensor pictures = random_uniform(1, {2, 3, 48, 48}), words = random_tensor(9, {20, 8});
  EXPECT_TRUE(
      at::equal(spae::guide_scores(read, spae::guide_features(read, pictures), words),
                spae::guide_scores(guide(), spae::guide_features(guide(), pictures), words)));
  EXPECT_EQ(read_model_file(path).license, "MIT");
}

TEST(GuideFile, EightBitsAreNearAndAQuarterOfTheSize) {
  const auto bytes = [](const ModelFile& file) {
    size_t sum = 0;
    for (const auto& [name, tensor] : file.tensors) sum += tensor.nbytes();
    return sum;
  };
  const ModelFile small = guide_file(guide(), at::kChar), full = guide_file(guide(), at::kFloat);
  EXPECT_LT(bytes(small) * 3, bytes(full));
  const spae::DualEncoder read = read_guide(small, "small", at::kCPU);
  for (const auto& [name, tensor] : full.tensors) {
    spae::DualEncoder view = read;
    const at::Tensor value = named_tensors(all_parameters(view)).at(name);
    EXPECT_LT((value - tensor).abs().max().item<double>(), tensor.abs().max().item<double>() / 250)
        << name;
  }
}

TEST(GuideFile, AnEyeInsideAnotherFileSeesTheSame) {
  ModelFile file;
  file.kind = "spae";
  EXPECT_FALSE(eye_of(file, "file", at::kCPU).has_value());
  add_eye(guide(), at::kFloat, file);
  EXPECT_EQ(file.tensors.count("guide.eye.classifier.weight"), 0U);
  const auto eye = eye_of(file, "file", at::kCPU);
  ASSERT_TRUE(eye.has_value());
  const at::Tensor pictures = random_uniform(1, {1, 3, 32, 32});
  EXPECT_TRUE(
      at::equal(spae::guide_features(*eye, pictures), spae::guide_features(guide(), pictures)));
  const auto features = features_by_eye(file, "file", at::kCPU);
  const at::Tensor three = random_uniform(2, {3, 3, 32, 32});
  EXPECT_TRUE(at::equal(features(three).narrow(0, 1, 1), features(three.narrow(0, 1, 1))));
  EXPECT_FALSE(features_by_eye(ModelFile(), "file", at::kCPU));
  file.tensors.erase("guide.eye.stem.bias");
  expect_error(ErrorKind::kBadData, "\"guide.eye.stem.bias\" is missing",
               [&] { eye_of(file, "file", at::kCPU); });
}

TEST(GuideFile, RejectsWhatCannotBe) {
  const ModelFile good = guide_file(guide(), at::kChar);
  const auto rejects = [&](ErrorKind kind, const std::string& message, auto&& change) {
    ModelFile file = good;
    change(file);
    expect_error(kind, message, [&] { read_guide(file, "guide", at::kCPU); });
  };
  rejects(ErrorKind::kUnsupported, "kind semantic_guide", [](ModelFile& f) { f.kind = "spae"; });
  rejects(ErrorKind::kBadData, "\"image_size\" is missing", [](ModelFile& f) { f.config = "{}"; });
  rejects(ErrorKind::kBadData, "\"out.bias\" is missing",
          [](ModelFile& f) { f.tensors.erase("out.bias"); });
  rejects(ErrorKind::kBadData, "\"out.weight.scales\" is missing",
          [](ModelFile& f) { f.tensors.erase("out.weight.scales"); });
  rejects(ErrorKind::kBadData, "\"out.weight\": expected shape", [](ModelFile& f) {
    f.tensors["out.weight"] = at::zeros({2, 2}, at::kChar);
  });
  rejects(ErrorKind::kBadData, "not finite",
          [](ModelFile& f) { f.tensors["out.bias"] = at::full({9}, NAN, at::kFloat); });
  rejects(ErrorKind::kBadData, "\"more\" is unexpected",
          [](ModelFile& f) { f.tensors["more"] = at::zeros({1}, at::kFloat); });
  expect_error(ErrorKind::kUsage, "expected float32, bfloat16, float16 or int8",
               [] { guide_file(guide(), at::kLong); });
}

}  // namespace
}  // namespace lexel
