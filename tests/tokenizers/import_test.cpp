#include "tokenizers/import.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/safetensors.h"
#include "tokenizers/load.h"
#include "tokenizers/vit_vqgan_file.h"

namespace lexel {
namespace {

using tests::expect_error;

const std::string kData = LEXEL_SOURCE_DIR "/tests/data/";

struct Source {
  const char* file;
  int64_t heads;  // shapes do not tell; the .safetensors file's metadata does
};

class ImportedVitvq : public ::testing::TestWithParam<Source> {};

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() ? (a - b).abs().max().item<double>() : INFINITY;
}

// enhancing-transformers@e1c185d, PyTorch 2.11, CPU, float32: tests/data/README.md.
TEST_P(ImportedVitvq, IdsLatentsAndPicturesAreThoseOfItsOwnCode) {
  const SafetensorsFile golden(kData + "et_vitvq.safetensors");
  const tests::TemporaryFolder folder;
  const std::string path = folder / "imported.safetensors";
  write_model_file(path, import_checkpoint(kData + GetParam().file, GetParam().heads));

  const auto tokenizer = load_image_tokenizer(path, "cpu");
  EXPECT_EQ(tokenizer->info().image_size, 32);
  EXPECT_EQ(tokenizer->info().preprocess.fit, "stretch");
  const at::Tensor ids = tokenizer->encode(golden.tensor("in/image"));
  EXPECT_TRUE(ids.equal(golden.tensor("out/ids")));
  EXPECT_LT(
      largest_difference(tokenizer->decode(ids), golden.tensor("out/ids_image").clamp(0.0, 1.0)),
      1e-5);
  EXPECT_LT(largest_difference(tokenizer->decode(golden.tensor("in/ids")),
                               golden.tensor("out/decoded_ids_image").clamp(0.0, 1.0)),
            1e-5);

  const vqgan::Model model = vit_vqgan_model(read_model_file(path), path, at::kCPU);
  const vqgan::Forward forward = vqgan::forward(model, golden.tensor("in/image"), at::kFloat);
  EXPECT_LT(largest_difference(forward.pictures, golden.tensor("out/recon")), 1e-5);
  EXPECT_LT(largest_difference(forward.codes, golden.tensor("out/quantized")), 1e-5);
  const at::Tensor wanted = golden.tensor("out/latent");
  const at::Tensor latents =
      vqgan::encode_latents(model.encoder, model.config, golden.tensor("in/image"), at::kFloat);
  // Latents reach 4.3 and their own float32 run is 1.2e-5 off their float64 run: relative to the largest.
  EXPECT_LT(largest_difference(latents, wanted) / wanted.abs().max().item<double>(), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Files, ImportedVitvq,
                         ::testing::Values(Source{"et_vitvq.safetensors", 0},
                                           Source{"et_vitvq.safetensors", 3},
                                           Source{"et_vitvq_lightning.ckpt", 3},
                                           Source{"et_vitvq_legacy.pth", 3}),
                         [](const auto& source) {
                           std::string name = source.param.file;
                           for (char& c : name)
                             c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name + "_heads_" + std::to_string(source.param.heads);
                         });

TEST(Import, ProvenanceNamesFileAndFamily) {
  const ModelFile file = import_checkpoint(kData + "et_vitvq.safetensors");
  EXPECT_EQ(file.kind, "vit_vqgan");
  const auto provenance = nlohmann::json::parse(file.provenance);
  EXPECT_EQ(provenance["imported_from"], "et_vitvq.safetensors");
  EXPECT_EQ(provenance["family"], "enhancing-transformers ViTVQ");
  EXPECT_EQ(provenance["source"],
            "thuanz123/enhancing-transformers@e1c185da5cc0eeefdded68cbff888d5b9c248372");
  EXPECT_EQ(provenance["sha256"].get<std::string>().size(), 64U);
}

TEST(Import, WithoutMetadataHeadsOf64AreAssumedAndRefusedWhereTheyCannotBe) {
  expect_error(ErrorKind::kUsage, "attention is 48 wide, not a multiple of heads of 64",
               [] { import_checkpoint(kData + "et_vitvq_legacy.pth"); });
  expect_error(ErrorKind::kUsage, "expected a number of heads that divides 48, got 5",
               [] { import_checkpoint(kData + "et_vitvq_legacy.pth", 5); });
  expect_error(ErrorKind::kUsage, "expected a number of heads, got -1",
               [] { import_checkpoint(kData + "et_vitvq_legacy.pth", -1); });
}

TEST(Import, WrongKeysAndShapesAreNamedAsTheFileNamesThem) {
  const tests::TemporaryFolder folder;
  const std::string path = folder / "bad.safetensors";
  const SafetensorsFile good(kData + "et_vitvq.safetensors");
  const auto refused = [&](const std::string& words,
                           const std::function<void(std::map<std::string, at::Tensor>&)>& spoil) {
    auto tensors = good.tensors();
    spoil(tensors);
    write_safetensors(path, good.metadata(), tensors);
    expect_error(ErrorKind::kBadData, "bad.safetensors: " + words,
                 [&] { import_checkpoint(path); });
  };
  using Tensors = std::map<std::string, at::Tensor>;
  refused("tensor \"encoder.transformer.layers.1.1.fn.net.2.bias\" is missing",
          [](Tensors& t) { t.erase("weights/encoder.transformer.layers.1.1.fn.net.2.bias"); });
  refused("tensor \"post_quant.weight\" is missing",
          [](Tensors& t) { t.erase("weights/post_quant.weight"); });
  refused("tensor \"decoder.extra.weight\" does not belong to this family",
          [](Tensors& t) { t["weights/decoder.extra.weight"] = at::zeros({1}); });
  refused(
      "tensor \"decoder.transformer.layers.7.1.norm.bias\" has no place in this model",
      [](Tensors& t) { t["weights/decoder.transformer.layers.7.1.norm.bias"] = at::zeros({48}); });
  refused(
      "tensor \"decoder.to_pixel.1.weight\": expected shape [48, 48] as decoder.head.weight, got "
      "[27, 48]",
      [](Tensors& t) {
        t["weights/decoder.to_pixel.1.weight"] = at::zeros({48, 3, 3, 3});
      });
  refused("tensor \"decoder.to_pixel.1.bias\": expected shape (C), got [3, 1]", [](Tensors& t) {
    t["weights/decoder.to_pixel.1.bias"] = at::zeros({3, 1});
  });
  refused("tensor \"encoder.en_pos_embedding\": expected a square grid of tokens, got 63",
          [](Tensors& t) {
            t["weights/encoder.en_pos_embedding"] = at::zeros({1, 63, 48});
          });
  refused("tensor \"quantizer.embedding.weight\": expected 2 dimensions",
          [](Tensors& t) { t["weights/quantizer.embedding.weight"] = at::zeros({128}); });
  refused("its shapes make no model", [](Tensors& t) {
    t["weights/encoder.to_patch_embedding.0.weight"] = at::zeros({48, 3, 80, 80});
  });
}

TEST(Import, UnknownFamiliesAndLexelFilesAreRefused) {
  const tests::TemporaryFolder folder;
  write_safetensors(folder / "other", {}, {{"conv.weight", at::zeros({2})}});
  expect_error(
      ErrorKind::kUnsupported,
      "of no known family (enhancing-transformers ViTVQ); its first tensor is \"conv.weight\"",
      [&] { import_checkpoint(folder / "other"); });
  write_model_file(folder / "ours", import_checkpoint(kData + "et_vitvq.safetensors"));
  expect_error(ErrorKind::kUsage, "is a Lexel file already",
               [&] { import_checkpoint(folder / "ours"); });
  expect_error(ErrorKind::kIo, "absent", [&] { import_checkpoint(folder / "absent"); });
  expect_error(ErrorKind::kBadData, "io open",
               [] { import_checkpoint(kData + "malicious_open.ckpt"); });
}

}  // namespace
}  // namespace lexel
