#include "tokenizers/io/model_file.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <limits>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizers/io/raw_safetensors.h"
#include "tokenizers/io/safetensors.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::TemporaryFolder;

ModelFile small_model() {
  ModelFile file;
  file.kind = "vit_vqgan";
  file.config = R"({"image_size":32})";
  file.preprocess = R"({"fit":"crop"})";
  file.provenance = R"({"steps":3})";
  file.license = "MIT";
  file.tensors = {{"encoder.weight", at::ones({2, 3})},
                  {"half", at::ones({4}).to(at::kBFloat16)},
                  {"vocabulary", at::zeros({5}, at::kByte)}};
  return file;
}

std::map<std::string, std::string> metadata_of(const ModelFile& file) {
  return {{"lexel.format", "1"},
          {"lexel.kind", file.kind},
          {"lexel.config", file.config},
          {"lexel.preprocess", file.preprocess},
          {"lexel.provenance", file.provenance},
          {"lexel.license", file.license}};
}

TEST(ModelFile, TheFingerprintIsOfWhatItComputes) {
  const ModelFile file = small_model();
  const std::string fingerprint = model_fingerprint(file);
  EXPECT_EQ(fingerprint.size(), 64U);
  ModelFile same = file;
  same.provenance = R"({"steps":4})";
  same.license = "Apache-2.0";
  EXPECT_EQ(model_fingerprint(same), fingerprint);
  std::vector<ModelFile> others(5, file);
  others[0].config = R"({"image_size":64})";
  others[1].preprocess = R"({"fit":"pad"})";
  others[2].tensors["half"] = at::ones({4}).to(at::kHalf);
  others[3].tensors["encoder.weight"] = at::ones({3, 2});
  others[4].tensors["vocabulary"] = at::ones({5}, at::kByte);
  for (const ModelFile& other : others) EXPECT_NE(model_fingerprint(other), fingerprint);
}

TEST(ModelFile, ComesBackEqual) {
  const TemporaryFolder folder;
  const std::string path = folder / "m.safetensors";
  const ModelFile written = small_model();
  write_model_file(path, written);
  const ModelFile read = read_model_file(path);
  EXPECT_EQ(read.kind, written.kind);
  EXPECT_EQ(read.config, written.config);
  EXPECT_EQ(read.preprocess, written.preprocess);
  EXPECT_EQ(read.provenance, written.provenance);
  EXPECT_EQ(read.license, written.license);
  ASSERT_EQ(read.tensors.size(), 3U);
  for (const auto& [key, tensor] : written.tensors) {
    EXPECT_EQ(read.tensors.at(key).scalar_type(), tensor.scalar_type()) << key;
    EXPECT_TRUE(read.tensors.at(key).equal(tensor)) << key;
  }
}

TEST(ModelFile, SummaryTellsShapesWithoutTensors) {
  const TemporaryFolder folder;
  const std::string path = folder / "m.safetensors";
  write_model_file(path, small_model());
  const ModelFileSummary summary = read_model_file_summary(path);
  EXPECT_EQ(summary.file.kind, "vit_vqgan");
  EXPECT_TRUE(summary.file.tensors.empty());
  EXPECT_EQ(summary.shapes.at("encoder.weight"), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(summary.dtypes.at("half"), "BF16");
  EXPECT_EQ(summary.bytes, static_cast<int64_t>(std::filesystem::file_size(path)));
}

TEST(ModelFile, TensorThatIsNotFiniteIsNamed) {
  const TemporaryFolder folder;
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    for (const double value :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
      ModelFile file = small_model();
      file.tensors["decoder.bad"] = at::ones({3}).to(type);
      file.tensors["decoder.bad"][1].fill_(value);
      write_model_file(folder / "m", file);
      expect_error(ErrorKind::kBadData, "tensor \"decoder.bad\" holds a value that is not finite",
                   [&] { read_model_file(folder / "m"); });
    }
  }
}

TEST(ModelFile, MissingMetadataIsNamed) {
  const TemporaryFolder folder;
  for (const char* key : {"lexel.format", "lexel.kind", "lexel.config", "lexel.preprocess",
                          "lexel.provenance", "lexel.license"}) {
    auto metadata = metadata_of(small_model());
    metadata.erase(key);
    write_safetensors(folder / "m", metadata, {});
    expect_error(ErrorKind::kBadData, std::string("metadata \"") + key + "\" is missing",
                 [&] { read_model_file(folder / "m"); });
    expect_error(ErrorKind::kBadData, key, [&] { read_model_file_summary(folder / "m"); });
  }
}

TEST(ModelFile, NewerFormatIsUnsupportedAndNonsenseIsBadData) {
  const TemporaryFolder folder;
  auto metadata = metadata_of(small_model());
  metadata["lexel.format"] = "2";
  write_safetensors(folder / "m", metadata, {});
  expect_error(ErrorKind::kUnsupported, "model format 2 is newer",
               [&] { read_model_file(folder / "m"); });
  for (const char* version : {"", "0", "-1", "1x", "99999999999999999999"}) {
    metadata["lexel.format"] = version;
    write_safetensors(folder / "m", metadata, {});
    expect_error(ErrorKind::kBadData, "lexel.format: expected a version",
                 [&] { read_model_file(folder / "m"); });
  }
}

TEST(ModelFile, TextThatIsNotAJsonObjectIsRefusedOnBothWays) {
  const TemporaryFolder folder;
  for (const char* text : {"", "[]", "{", "3", "{\"a\":}"}) {
    ModelFile file = small_model();
    file.config = text;
    expect_error(ErrorKind::kUsage, "expected a JSON object as config",
                 [&] { write_model_file(folder / "m", file); });
    EXPECT_FALSE(std::filesystem::exists(folder / "m"));
    write_safetensors(folder / "n", metadata_of(file), {});
    expect_error(ErrorKind::kBadData, "lexel.config is not a JSON object",
                 [&] { read_model_file(folder / "n"); });
  }
  ModelFile file = small_model();
  file.kind.clear();
  expect_error(ErrorKind::kUsage, "expected a kind", [&] { write_model_file(folder / "m", file); });
}

TEST(ModelFile, TruncatedFileIsBadDataAndMissingFileIsIo) {
  const TemporaryFolder folder;
  write_model_file(folder / "m", small_model());
  auto bytes = tests::read_bytes(folder / "m");
  bytes.resize(bytes.size() - 1);
  tests::write_bytes(folder / "m", bytes);
  expect_error(ErrorKind::kBadData, "m: ", [&] { read_model_file(folder / "m"); });
  expect_error(ErrorKind::kIo, "absent", [&] { read_model_file(folder / "absent"); });
  expect_error(ErrorKind::kIo, "nowhere",
               [&] { write_model_file(folder / "nowhere/m", small_model()); });
}

}  // namespace
}  // namespace lexel
