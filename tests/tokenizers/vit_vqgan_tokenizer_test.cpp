#include "tokenizers/vit_vqgan_tokenizer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/tokenizers/tiny_model.h"
#include "tokenizers/vit_vqgan_file.h"

namespace lexel {
namespace {

using tests::expect_error;

class VitVqganTokenizerTest : public ::testing::Test {
 protected:
  vqgan::Model model_ = tests::tiny_model(3);
  std::unique_ptr<ImageTokenizer> tokenizer_ = make_vit_vqgan_tokenizer(
      vit_vqgan_file(model_, tests::tiny_preprocess(), "{\"steps\":7}", "MIT"),
      "models/tiny.safetensors", at::kCPU);
};

TEST_F(VitVqganTokenizerTest, InfoSaysWhatTheModelIs) {
  const TokenizerInfo& info = tokenizer_->info();
  EXPECT_EQ(info.kind, "vit_vqgan");
  EXPECT_EQ(info.name, "tiny.safetensors");
  EXPECT_EQ(info.image_size, 16);
  EXPECT_EQ(info.grid_height, 4);
  EXPECT_EQ(info.grid_width, 4);
  EXPECT_EQ(info.codebook_size, 32);
  EXPECT_EQ(info.parameter_count, parameter_count(vqgan::parameters(model_)));
  EXPECT_EQ(info.codebook_fingerprint, codebook_fingerprint(model_));
  EXPECT_EQ(info.preprocess, tests::tiny_preprocess());
  EXPECT_EQ(info.license, "MIT");
  EXPECT_EQ(info.provenance, "{\"steps\":7}");
}

TEST_F(VitVqganTokenizerTest, AgreesWithTheModelInEachIntegerType) {
  const at::Tensor images = tests::random_uniform(1, {3, 3, 16, 16});
  const at::Tensor ids = tokenizer_->encode(images);
  EXPECT_EQ(ids.scalar_type(), at::kLong);
  EXPECT_TRUE(ids.equal(vqgan::encode(model_, images)));
  const at::Tensor pictures = vqgan::decode(model_, ids, 4, 4);
  for (const at::ScalarType type : {at::kLong, at::kInt, at::kShort, at::kByte}) {
    EXPECT_TRUE(tokenizer_->decode(ids.to(type)).equal(pictures)) << type;
  }
  EXPECT_GE(pictures.min().item<float>(), 0.0F);
  EXPECT_LE(pictures.max().item<float>(), 1.0F);
}

TEST_F(VitVqganTokenizerTest, RowOfABatchIsThatPictureAlone) {
  const at::Tensor images = tests::random_uniform(2, {5, 3, 16, 16});
  const at::Tensor ids = tokenizer_->encode(images), pictures = tokenizer_->decode(ids);
  for (int64_t k = 0; k < 5; ++k) {
    EXPECT_TRUE(tokenizer_->encode(images.narrow(0, k, 1)).equal(ids.narrow(0, k, 1)));
    EXPECT_TRUE(tokenizer_->decode(ids.narrow(0, k, 1)).equal(pictures.narrow(0, k, 1)));
  }
}

TEST_F(VitVqganTokenizerTest, EmptyBatchGivesAnEmptyBatch) {
  EXPECT_EQ(tokenizer_->encode(at::zeros({0, 3, 16, 16})).sizes(), (at::IntArrayRef{0, 16}));
  EXPECT_EQ(tokenizer_->decode(at::zeros({0, 16}, at::kLong)).sizes(),
            (at::IntArrayRef{0, 3, 16, 16}));
}

TEST_F(VitVqganTokenizerTest, ConcurrentCallsAgree) {
  const at::Tensor images = tests::random_uniform(4, {2, 3, 16, 16});
  const at::Tensor ids = tokenizer_->encode(images);
  std::vector<at::Tensor> results(4);
  std::vector<std::thread> threads;
  for (at::Tensor& result : results) {
    threads.emplace_back([&] { result = tokenizer_->encode(images); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const at::Tensor& result : results) EXPECT_TRUE(result.equal(ids));
}

TEST_F(VitVqganTokenizerTest, WrongShapesDtypesAndIdsAreNamed) {
  expect_error(ErrorKind::kUsage,
               "encode: expected (B, 3, 16, 16) float32 pictures, got Float of shape [1, 3, 8, 16]",
               [&] {
                 tokenizer_->encode(at::zeros({1, 3, 8, 16}));
               });
  expect_error(ErrorKind::kUsage, "got Byte", [&] {
    tokenizer_->encode(at::zeros({1, 3, 16, 16}, at::kByte));
  });
  expect_error(ErrorKind::kUsage, "encode: expected", [&] {
    tokenizer_->encode(at::zeros({3, 16, 16}));
  });
  expect_error(ErrorKind::kUsage,
               "decode: expected (B, 16) integer tokens, got Long of shape [1, 15]", [&] {
                 tokenizer_->decode(at::zeros({1, 15}, at::kLong));
               });
  expect_error(ErrorKind::kUsage, "got Float", [&] { tokenizer_->decode(at::zeros({1, 16})); });
  at::Tensor ids = at::zeros({1, 16}, at::kLong);
  ids[0][3].fill_(32);
  expect_error(ErrorKind::kBadData, "expected ids in 0 to 31, got 32",
               [&] { tokenizer_->decode(ids); });
  ids[0][3].fill_(-1);
  expect_error(ErrorKind::kBadData, "got -1", [&] { tokenizer_->decode(ids); });
}

}  // namespace
}  // namespace lexel
