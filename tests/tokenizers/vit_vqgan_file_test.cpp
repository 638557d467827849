#include "tokenizers/vit_vqgan_file.h"

#include <ATen/ops/zeros.h>
#include <functional>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizers/tiny_model.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::tiny_model;
using tests::tiny_preprocess;

std::map<std::string, at::Tensor> tensors_of(vqgan::Model& model) {
  return named_tensors(vqgan::parameters(model));
}

TEST(VitVqganFile, SavedAndLoadedModelsGiveEqualTokensAndPictures) {
  const tests::TemporaryFolder folder;
  vqgan::Model model = tiny_model(1);
  write_model_file(folder / "m", vit_vqgan_file(model, tiny_preprocess(), "{\"steps\":1}", "MIT"));
  const ModelFile file = read_model_file(folder / "m");
  EXPECT_EQ(file.kind, "vit_vqgan");
  EXPECT_EQ(file.license, "MIT");
  vqgan::Model back = vit_vqgan_model(file, "m", at::kCPU);
  for (const auto& [key, tensor] : tensors_of(model)) {
    EXPECT_TRUE(tensors_of(back).at(key).equal(tensor)) << key;
  }
  const at::Tensor images = tests::random_uniform(1, {2, 3, 16, 16});
  const at::Tensor ids = vqgan::encode(model, images);
  EXPECT_TRUE(vqgan::encode(back, images).equal(ids));
  EXPECT_TRUE(vqgan::decode(back, ids, 4, 4).equal(vqgan::decode(model, ids, 4, 4)));
  EXPECT_EQ(codebook_fingerprint(back), codebook_fingerprint(model));
}

TEST(VitVqganFile, HalfPrecisionRoundsMatricesOnlyAndTheFingerprintIsOfWhatIsStored) {
  const vqgan::Model model = tiny_model(1);
  for (const at::ScalarType stored : {at::kBFloat16, at::kHalf}) {
    const ModelFile file = vit_vqgan_file(model, tiny_preprocess(), "{}", "", stored);
    EXPECT_EQ(file.tensors.at("encoder.patch.weight").scalar_type(), stored);
    EXPECT_EQ(file.tensors.at("encoder.norm.weight").scalar_type(), at::kFloat);
    const vqgan::Model back = vit_vqgan_model(file, "m", at::kCPU);
    EXPECT_EQ(back.encoder.patch.weight.scalar_type(), at::kFloat);
    EXPECT_TRUE(
        back.encoder.patch.weight.equal(model.encoder.patch.weight.to(stored).to(at::kFloat)));
    EXPECT_NE(codebook_fingerprint(back), codebook_fingerprint(model));
    // Saved once more, nothing changes.
    const ModelFile again = vit_vqgan_file(back, tiny_preprocess(), "{}", "", stored);
    EXPECT_EQ(codebook_fingerprint(vit_vqgan_model(again, "m", at::kCPU)),
              codebook_fingerprint(back));
  }
}

TEST(VitVqganFile, LoadedModelDoesNotShareMemoryWithTheFile) {
  const ModelFile file = vit_vqgan_file(tiny_model(1), tiny_preprocess());
  vqgan::Model back = vit_vqgan_model(file, "m", at::kCPU);
  back.encoder.patch.weight.zero_();
  EXPECT_GT(file.tensors.at("encoder.patch.weight").abs().sum().item<float>(), 0);
}

TEST(VitVqganFile, WhatDoesNotFitIsBadDataAndNamed) {
  const auto refused = [](const std::string& words, const std::function<void(ModelFile&)>& spoil) {
    ModelFile file = vit_vqgan_file(tiny_model(1), tiny_preprocess());
    spoil(file);
    expect_error(ErrorKind::kBadData, "m: " + words, [&] { vit_vqgan_model(file, "m", at::kCPU); });
  };
  refused("tensor \"decoder.code.bias\" is missing",
          [](ModelFile& f) { f.tensors.erase("decoder.code.bias"); });
  refused("tensor \"more\" is unexpected",
          [](ModelFile& f) { f.tensors["more"] = at::zeros({1}); });
  refused("tensor \"quantizer.codebook\": expected shape [32, 8], got [31, 8]", [](ModelFile& f) {
    f.tensors["quantizer.codebook"] = at::zeros({31, 8});
  });
  refused("tensor \"quantizer.codebook\": expected floats, got Int", [](ModelFile& f) {
    f.tensors["quantizer.codebook"] = at::zeros({32, 8}, at::kInt);
  });
  refused("tensor \"encoder.norm.bias\" holds a value that is not finite",
          [](ModelFile& f) { f.tensors["encoder.norm.bias"][0].fill_(NAN); });
  refused("key \"image_size\" is missing", [](ModelFile& f) { f.config = "{}"; });
  refused("preprocess gives 256 pixels to a model of 16", [](ModelFile& f) {
    f.preprocess = R"({"image_size":256,"fit":"crop","kernel":"bicubic"})";
  });
}

TEST(VitVqganFile, HugeConfigIsRefusedBeforeMemoryIsTaken) {
  ModelFile file = vit_vqgan_file(tiny_model(1), tiny_preprocess());
  const std::string from = "\"decoder.width\":16";
  const size_t at = file.config.find(from);
  ASSERT_NE(at, std::string::npos);
  file.config.replace(at, from.size(), "\"decoder.width\":16384");
  expect_error(ErrorKind::kBadData, "m: tensor \"", [&] { vit_vqgan_model(file, "m", at::kCPU); });
}

TEST(VitVqganFile, AnotherKindIsUnsupported) {
  ModelFile file = vit_vqgan_file(tiny_model(1), tiny_preprocess());
  file.kind = "spae";
  expect_error(ErrorKind::kUnsupported, "m: expected a model of kind vit_vqgan, got \"spae\"",
               [&] { vit_vqgan_model(file, "m", at::kCPU); });
}

TEST(VitVqganFile, WriterRefusesWrongDtypeSizeAndValues) {
  expect_error(ErrorKind::kUsage, "expected float32, bfloat16, float16 or int8",
               [] { vit_vqgan_file(tiny_model(1), tiny_preprocess(), "{}", "", at::kDouble); });
  expect_error(ErrorKind::kUsage, "expected pictures of 16 pixels, got 256",
               [] { vit_vqgan_file(tiny_model(1), Preprocess{}); });
  const vqgan::Model model = tiny_model(1);
  model.encoder.patch.weight[0][0].fill_(1e6);  // past the largest float16
  expect_error(ErrorKind::kBadData,
               "tensor \"encoder.patch.weight\" holds a value that is not finite",
               [&] { vit_vqgan_file(model, tiny_preprocess(), "{}", "", at::kHalf); });
}

}  // namespace
}  // namespace lexel
