#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <tuple>
#include <vector>

#include "tests/spae/tiny_spae.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizers/tiny_model.h"
#include "tokenizers/load.h"
#include "tokenizers/spae_file.h"
#include "tokenizers/spae_tokenizer.h"
#include "tokenizers/word_table.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::random_uniform;
using tests::tiny_preprocess;
using tests::tiny_spae;
using tests::tiny_spae_model;
using tests::tiny_spae_with_options;

at::Tensor bytes_of(const std::string& text) {
  const at::Tensor result = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::memcpy(result.mutable_data_ptr(), text.data(), text.size());
  return result;
}

TEST(SpaeFile, SavedAndLoadedModelsGiveEqualWordsAndPictures) {
  const tests::TemporaryFolder folder;
  for (const char* const body : {"cnn", "vit"}) {
    const spae::Model model = tiny_spae_model(tiny_spae(body));
    write_model_file(folder / "m", spae_file(model, tiny_preprocess(), "{\"steps\":1}", "MIT"));
    const ModelFile file = read_model_file(folder / "m");
    EXPECT_EQ(file.kind, "spae");
    const spae::Model back = spae_model(file, "m", at::kCPU);
    EXPECT_EQ(back.codebook.words, model.codebook.words);
    EXPECT_TRUE(at::equal(back.codebook.ids, model.codebook.ids));
    EXPECT_EQ(back.codebook.fingerprint, lexical_fingerprint(model.codebook));
    EXPECT_FALSE(back.codebook.semantics.defined());
    const at::Tensor images = random_uniform(1, {2, 3, 16, 16});
    const at::Tensor ids = spae::encode(model, images);
    EXPECT_TRUE(at::equal(spae::encode(back, images), ids));
    EXPECT_TRUE(at::equal(spae::decode(back, ids), spae::decode(model, ids)));
  }
}

TEST(SpaeFile, HalfPrecisionKeepsTheCodesAndTheFingerprint) {
  const spae::Model model = tiny_spae_model(tiny_spae("vit"));
  ModelFile file = spae_file(model, tiny_preprocess(), "{}", "", at::kHalf);
  EXPECT_EQ(file.tensors.at("encoder.patch.weight").scalar_type(), at::kHalf);
  EXPECT_EQ(file.tensors.at("words.codes").scalar_type(), at::kFloat);
  EXPECT_EQ(spae_model(file, "m", at::kCPU).codebook.fingerprint,
            lexical_fingerprint(model.codebook));
  const ModelFile bytes = spae_file(model, tiny_preprocess(), "{}", "", at::kChar);
  EXPECT_EQ(bytes.tensors.at("encoder.patch.weight").scalar_type(), at::kChar);
  EXPECT_EQ(spae_model(bytes, "m", at::kCPU).codebook.fingerprint,
            lexical_fingerprint(model.codebook));
  file.tensors["guide.head"] = at::zeros({3});  // another's, in the same file
  EXPECT_NO_THROW(spae_model(file, "m", at::kCPU));
}

TEST(SpaeFile, TheFingerprintIsOfWordsIdsAndCodes) {
  const spae::LexicalCodebook codebook = tests::random_words(1, 5, 4);
  const std::string own = lexical_fingerprint(codebook);
  EXPECT_EQ(own.size(), 64U);
  EXPECT_EQ(lexical_fingerprint(tests::random_words(1, 5, 4)), own);
  spae::LexicalCodebook other = codebook;
  other.words[2] = "other";
  EXPECT_NE(lexical_fingerprint(other), own);
  other = codebook;
  other.ids = codebook.ids + 1;
  EXPECT_NE(lexical_fingerprint(other), own);
  EXPECT_NE(lexical_fingerprint(tests::random_words(2, 5, 4)), own);
}

TEST(SpaeFile, AGuidesWordsComeBackAndRowsPastTheCodebookAreRefused) {
  spae::Config config = tests::tiny_spae_with_options("vit");
  config.upper_words = "guide";
  config.semantic_width = 12;
  config.semantic_words = 20;
  const spae::Model model = tiny_spae_model(config);
  ModelFile file = spae_file(model, tiny_preprocess(), "{}", "", at::kChar);
  const spae::Model back = spae_model(file, "m", at::kCPU);
  EXPECT_TRUE(at::equal(back.semantic_path.rows, model.semantic_path.rows));
  for (const double wrong : {40.0, -1.0, 0.5, 3.0}) {  // 3 is there already
    file.tensors["semantic_path.rows"] = model.semantic_path.rows.clone();
    file.tensors["semantic_path.rows"][7] = wrong;
    expect_error(ErrorKind::kBadData, "m: tensor \"semantic_path.rows\": expected rows of 40 words",
                 [&] { spae_model(file, "m", at::kCPU); });
  }
}

TEST(SpaeFile, WhatDoesNotFitIsBadDataAndNamed) {
  const auto refused = [](const std::string& words, const std::function<void(ModelFile&)>& spoil) {
    ModelFile file = spae_file(tiny_spae_model(tiny_spae("vit")), tiny_preprocess());
    spoil(file);
    expect_error(ErrorKind::kBadData, "m: " + words, [&] { spae_model(file, "m", at::kCPU); });
  };
  refused("tensor \"words.text\" is missing", [](ModelFile& f) { f.tensors.erase("words.text"); });
  refused("tensor \"decoder.code.bias\" is missing",
          [](ModelFile& f) { f.tensors.erase("decoder.code.bias"); });
  refused("tensor \"more\" is unexpected",
          [](ModelFile& f) { f.tensors["more"] = at::zeros({1}); });
  refused("tensor \"words.codes\": expected floats of shape [40, 8], got Float of shape [39, 8]",
          [](ModelFile& f) {
            f.tensors["words.codes"] = at::zeros({39, 8});
          });
  refused("lexical codebook: expected codes of length 1, got one that is off by 1",
          [](ModelFile& f) {
            f.tensors["words.codes"] = at::zeros({40, 8});
          });
  refused("tensor \"words.text\" is not a JSON array of texts",
          [](ModelFile& f) { f.tensors["words.text"] = bytes_of("[\"a\", 3]"); });
  refused("tensor \"words.text\" is not a JSON array of texts",
          [](ModelFile& f) { f.tensors["words.text"] = bytes_of("[[[[[\"a\"]]]]]"); });
  refused("tensor \"words.text\" is not UTF-8",
          [](ModelFile& f) { f.tensors["words.text"] = bytes_of("[\"\xff\"]"); });
  refused("expected 40 words, got 1",
          [](ModelFile& f) { f.tensors["words.text"] = bytes_of("[\"a\"]"); });
  refused("tensor \"words.text\": expected up to 67108864 bytes of text, got Float",
          [](ModelFile& f) { f.tensors["words.text"] = at::zeros({3}); });
  refused("lexical codebook: expected each word once, got \"w0\" twice", [](ModelFile& f) {
    std::string words = "[\"w0\"";
    for (int k = 0; k < 39; ++k) words += ",\"w" + std::to_string(k) + "\"";
    f.tensors["words.text"] = bytes_of(words + "]");
  });
  refused("lexical codebook: expected 40 int64 ids, got Long of shape [1]",
          [](ModelFile& f) { f.tensors["words.ids"] = at::zeros({1}, at::kLong); });
  refused("spae::validate: num_words: expected 1 to 262144, got 999999999", [](ModelFile& f) {
    f.config.replace(f.config.find("\"num_words\":40"), 14, "\"num_words\":999999999");
  });
  refused("key \"sides\" is missing",
          [](ModelFile& f) { f.config.replace(f.config.find("\"sides\""), 7, "\"sizes\""); });
  refused("preprocess gives 32 pixels to a model of 16",
          [](ModelFile& f) { f.preprocess.replace(f.preprocess.find("16"), 2, "32"); });
  ModelFile file = spae_file(tiny_spae_model(tiny_spae("vit")), tiny_preprocess());
  file.kind = "parti";
  expect_error(ErrorKind::kUnsupported, "m: expected a model of kind spae, got \"parti\"",
               [&] { spae_model(file, "m", at::kCPU); });
}

TEST(SpaeTokenizer, IsLoadedByItsKindAndSaysWhatItIs) {
  const tests::TemporaryFolder folder;
  const spae::Model model = tiny_spae_model(tiny_spae("vit"));
  write_model_file(folder / "tiny.safetensors", spae_file(model, tiny_preprocess()));
  const auto tokenizer = load_image_tokenizer(folder / "tiny.safetensors", "cpu");
  const TokenizerInfo& info = tokenizer->info();
  EXPECT_EQ(info.kind, "spae");
  EXPECT_EQ(info.name, "tiny.safetensors");
  EXPECT_EQ(info.layer_sides, (std::vector<int64_t>{1, 2, 4, 4}));
  EXPECT_EQ(info.grid_height, 4);
  EXPECT_EQ(info.tokens(), 37);
  EXPECT_EQ(info.words, model.codebook.words);
  EXPECT_EQ(info.codebook_fingerprint, lexical_fingerprint(model.codebook));
  const at::Tensor images = random_uniform(1, {2, 3, 16, 16});
  const at::Tensor ids = tokenizer->encode(images);
  EXPECT_TRUE(at::equal(ids, spae::encode(model, images)));
  for (const int64_t tokens : {1, 5, 21, 37}) {
    EXPECT_TRUE(at::equal(tokenizer->decode(ids.narrow(1, 0, tokens).to(at::kInt)),
                          spae::decode(model, ids.narrow(1, 0, tokens))));
  }
  expect_error(ErrorKind::kBadData, "in the middle of layer 3",
               [&] { tokenizer->decode(ids.narrow(1, 0, 20)); });
  expect_error(ErrorKind::kUsage, "expected (B, 3, 16, 16) float32 pictures", [&] {
    tokenizer->encode(random_uniform(1, {2, 3, 8, 8}));
  });
  expect_error(ErrorKind::kUsage, "expected (B, tokens) integers", [&] {
    tokenizer->decode(at::zeros({1, 5}));
  });
}

TEST(SpaeTokenizer, FeaturesAreAskedForWhenAModelSeesThem) {
  const spae::Model model = tiny_spae_model(tiny_spae_with_options("vit"));
  const ModelFile file = spae_file(model, tiny_preprocess());
  const at::Tensor images = random_uniform(1, {2, 3, 16, 16});
  const auto features = [](const at::Tensor& x) { return x.flatten(1).narrow(1, 0, 6).clone(); };
  const auto seeing = make_spae_tokenizer(file, "m", at::kCPU, features);
  const at::Tensor ids = seeing->encode(images);
  EXPECT_TRUE(at::equal(ids, spae::encode(model, images, features(images))));
  const auto blind = make_spae_tokenizer(file, "m", at::kCPU);
  EXPECT_TRUE(at::equal(blind->decode(ids), spae::decode(model, ids)));
  expect_error(ErrorKind::kUnsupported, "m: this model sees frozen features of 6 numbers",
               [&] { blind->encode(images); });
}

/// Mean squared error after each of six words, for random unit vectors and the shipped words at this width.
std::vector<double> errors_of_shipped_words(spae::QuantizerRule rule, int64_t width) {
  const WordTableFile file = read_word_table(LEXEL_SOURCE_DIR "/assets/words-llama.safetensors");
  const at::Tensor codes = spae::make_lexical_codebook(file.table, width).codes;
  const at::Tensor z = spae::unit_rows(tests::random_tensor(1, {2, 256, width}));
  std::vector<double> errors;
  for (const spae::LayerChoice& choice :
       spae::quantize(spae::make_pyramid({16, 16, 16, 16, 16, 16}), rule, z, codes, 6)) {
    errors.push_back((choice.result - z).square().sum(2).mean().item<double>());
  }
  return errors;
}

TEST(ShippedWords, StreamingAveragesFallAtEveryWidthAndResidualsRiseFrom64On) {
  // The last columns of the table in spae/README.md, to within what 512 vectors scatter.
  const std::vector<std::tuple<int64_t, double, double>> table = {
      {32, 0.31, 0.74}, {64, 0.49, 1.34}, {256, 0.79, 3.08}};
  for (const auto& [width, average, residual] : table) {
    const auto saq = errors_of_shipped_words(spae::QuantizerRule::kStreamingAverage, width);
    const auto rq = errors_of_shipped_words(spae::QuantizerRule::kResidual, width);
    for (size_t word = 1; word < 6; ++word) EXPECT_LT(saq[word], saq[word - 1]) << width;
    EXPECT_NEAR(saq.back(), average, 0.04);
    EXPECT_NEAR(rq.back(), residual, 0.08);
    EXPECT_EQ(rq.back() > rq.front(), width >= 64);
  }
}

}  // namespace
}  // namespace lexel
