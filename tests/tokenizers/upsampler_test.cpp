#include "tokenizers/upsampler.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::random_uniform;

vqgan::Upsampler made() {
  vqgan::Upsampler upsampler =
      vqgan::make_upsampler({.scale = 2, .width = 4, .blocks = 2, .expansion = 2}, 1, at::kCPU);
  upsampler.tail.weight.copy_(random_uniform(3, {12, 4, 3, 3}));
  return upsampler;
}

TEST(UpsamplerFile, SavedAndLoadedGivesEqualPictures) {
  const tests::TemporaryFolder folder;
  const vqgan::Upsampler upsampler = made();
  write_model_file(folder / "u.safetensors", upsampler_file(upsampler, "{\"steps\":1}", "MIT"));
  const auto loaded = load_upsampler(folder / "u.safetensors", "cpu");
  EXPECT_EQ(loaded->scale(), 2);
  const at::Tensor images = random_uniform(2, {5, 3, 6, 9});
  const at::Tensor large = loaded->upscale(images);
  EXPECT_EQ(large.sizes(), at::IntArrayRef({5, 3, 12, 18}));
  EXPECT_TRUE(large.equal(PictureUpsampler(upsampler).upscale(images)));
  EXPECT_GE(large.min().item<float>(), 0.0F);
  EXPECT_LE(large.max().item<float>(), 1.0F);
  // One alone is the same as among others.
  EXPECT_TRUE(loaded->upscale(images.narrow(0, 4, 1)).equal(large.narrow(0, 4, 1)));
}

TEST(UpsamplerFile, HalfPrecisionRoundsWeightsOnly) {
  const vqgan::Upsampler upsampler = made();
  const ModelFile file = upsampler_file(upsampler, "{}", "", at::kBFloat16);
  EXPECT_EQ(file.tensors.at("head.weight").scalar_type(), at::kBFloat16);
  EXPECT_EQ(file.tensors.at("head.bias").scalar_type(), at::kFloat);
  const vqgan::Upsampler back = upsampler_model(file, "u", at::kCPU);
  EXPECT_TRUE(back.tail.weight.equal(upsampler.tail.weight.to(at::kBFloat16).to(at::kFloat)));
  expect_error(ErrorKind::kUsage, "float32, bfloat16, float16 or int8",
               [&] { upsampler_file(upsampler, "{}", "", at::kDouble); });
}

TEST(UpsamplerFile, RefusesWhatDoesNotFit) {
  const ModelFile good = upsampler_file(made());
  const auto refused = [&](ErrorKind kind, const std::string& message, auto&& change) {
    ModelFile file = good;
    change(file);
    expect_error(kind, message, [&] { upsampler_model(file, "u.safetensors", at::kCPU); });
  };
  refused(ErrorKind::kUnsupported, "got \"vit_vqgan\"", [](ModelFile& f) { f.kind = "vit_vqgan"; });
  refused(ErrorKind::kBadData, "u.safetensors: key \"width\" is missing",
          [](ModelFile& f) { f.config = R"({"scale":2,"blocks":2,"expansion":2})"; });
  refused(ErrorKind::kBadData, "width in 1..4096", [](ModelFile& f) {
    f.config = R"({"scale":2,"width":1000000000000,"blocks":2,"expansion":2})";
  });
  refused(ErrorKind::kBadData, "tensor \"tail.bias\" is missing",
          [](ModelFile& f) { f.tensors.erase("tail.bias"); });
  refused(ErrorKind::kBadData, "tensor \"more\" is unexpected",
          [](ModelFile& f) { f.tensors["more"] = at::full({1}, 1.0F); });
  refused(ErrorKind::kBadData, "expected shape [12]",
          [](ModelFile& f) { f.tensors["tail.bias"] = at::full({1}, 1.0F); });
  refused(ErrorKind::kBadData, "expected floats",
          [](ModelFile& f) { f.tensors["tail.bias"] = at::full({12}, 1, at::kInt); });
}

TEST(PictureUpsampler, RefusesAnotherShape) {
  const PictureUpsampler upsampler(made());
  for (const std::vector<int64_t>& shape :
       std::vector<std::vector<int64_t>>{{3, 8, 8}, {0, 3, 8, 8}, {1, 1, 8, 8}}) {
    expect_error(ErrorKind::kUsage, "(B, 3, H, W)",
                 [&] { upsampler.upscale(random_uniform(1, shape)); });
  }
}

}  // namespace
}  // namespace lexel
