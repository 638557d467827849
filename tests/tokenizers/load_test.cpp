#include "tokenizers/load.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizers/io/raw_safetensors.h"
#include "tests/tokenizers/tiny_model.h"
#include "tokenizers/vit_vqgan_file.h"

namespace lexel {
namespace {

using tests::expect_error;

class LoadTest : public ::testing::Test {
 protected:
  LoadTest() { write_model_file(path_, file_); }

  const tests::TemporaryFolder folder_;
  const std::string path_ = folder_ / "tiny.safetensors";
  vqgan::Model model_ = tests::tiny_model(5);
  ModelFile file_ = vit_vqgan_file(model_, tests::tiny_preprocess());
};

TEST_F(LoadTest, LoadsAModelFile) {
  const auto tokenizer = load_image_tokenizer(path_, "cpu");
  EXPECT_EQ(tokenizer->info().name, "tiny.safetensors");
  const at::Tensor images = tests::random_uniform(1, {1, 3, 16, 16});
  EXPECT_TRUE(tokenizer->encode(images).equal(vqgan::encode(model_, images)));
}

TEST_F(LoadTest, UnknownKindIsUnsupported) {
  file_.kind = "dvae";
  write_model_file(path_, file_);
  expect_error(ErrorKind::kUnsupported,
               "tiny.safetensors: this program cannot load a tokenizer of kind \"dvae\"",
               [&] { load_image_tokenizer(path_, "cpu"); });
}

TEST_F(LoadTest, UnknownDeviceIsAUsageError) {
  expect_error(ErrorKind::kUsage, "tpu", [&] { load_image_tokenizer(path_, "tpu"); });
}

TEST_F(LoadTest, BadFilesAreNamed) {
  expect_error(ErrorKind::kIo, "absent", [&] { load_image_tokenizer(folder_ / "absent", "cpu"); });
  file_.tensors.erase("quantizer.codebook");
  write_model_file(path_, file_);
  expect_error(ErrorKind::kBadData, "tiny.safetensors: tensor \"quantizer.codebook\" is missing",
               [&] { load_image_tokenizer(path_, "cpu"); });
  file_.tensors["quantizer.codebook"] = model_.quantizer.codebook.clone();
  file_.tensors["quantizer.codebook"][0][0].fill_(NAN);
  write_model_file(path_, file_);
  expect_error(ErrorKind::kBadData,
               "tensor \"quantizer.codebook\" holds a value that is not finite",
               [&] { load_image_tokenizer(path_, "cpu"); });
  auto bytes = tests::read_bytes(path_);
  bytes[7] = 1;  // a header longer than the file
  tests::write_bytes(path_, bytes);
  expect_error(ErrorKind::kBadData, "tiny.safetensors: not a safetensors file: header of",
               [&] { load_image_tokenizer(path_, "cpu"); });
}

}  // namespace
}  // namespace lexel
