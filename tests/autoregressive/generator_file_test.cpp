#include "autoregressive/generator_file.h"

#include <ATen/ops/zeros.h>
#include <functional>
#include <gtest/gtest.h>

#include "kernels/linear_decode.h"
#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel::ar {
namespace {

using tests::expect_error;
using tests::tiny_condition;
using tests::tiny_tokens;

const std::string kFingerprint(64, 'a');

Generator tiny_generator(Config config = tests::tiny_parti()) {
  Generator generator;
  if (config.text_depth > 0) {
    generator.text = text_tokenizer_from_bytes(tests::english_model(), "test");
    config.text_vocabulary = generator.text->vocabulary_size();
  }
  generator.model = make_model(config, 1, at::kCPU);
  tests::fill_zeros(generator.model);
  generator.codebook_fingerprint = kFingerprint;
  generator.tokenizer_name = "tiny.safetensors";
  return generator;
}

at::Tensor logits_of(const Model& model) {
  return logits(model, tiny_condition(model.config, 2), tiny_tokens(model.config, 2));
}

TEST(GeneratorFile, EverythingComesBack) {
  const tests::TemporaryFolder folder;
  for (const Config& config : {tests::tiny_parti(), tests::tiny_vim()}) {
    const Generator generator = tiny_generator(config);
    const bool text = config.text_depth > 0;
    write_model_file(folder / "g",
                     generator_file(generator, Stored::kFloat32, "{\"steps\":1}", "MIT"));
    EXPECT_EQ(read_model_file(folder / "g").kind, text ? "parti" : "vim");
    const Generator back = load_generator(folder / "g", at::kCPU);
    EXPECT_EQ(back.codebook_fingerprint, kFingerprint);
    EXPECT_EQ(back.tokenizer_name, "tiny.safetensors");
    EXPECT_EQ(back.model.config.conv_layers, "1");
    EXPECT_EQ(back.model.config.classes, config.classes);
    ASSERT_EQ(back.text != nullptr, text);
    if (text) {
      EXPECT_EQ(back.text->fingerprint(), generator.text->fingerprint());
    }
    EXPECT_TRUE(logits_of(back.model).equal(logits_of(generator.model)));
  }
}

TEST(GeneratorFile, ExpertsComeBackAndFilesWithoutThemSayNothingOfThem) {
  const ModelFile dense = generator_file(tiny_generator(), Stored::kFloat32);
  for (const char* const field : {"experts", "routing", "capacity", "gating", "tasks"}) {
    EXPECT_EQ(dense.config.find(field), std::string::npos) << field;
  }
  const Generator generator = tiny_generator(tests::tiny_experts("task"));
  for (const Stored stored : {Stored::kFloat32, Stored::kInt8}) {
    const ModelFile file = generator_file(generator, stored);
    const Generator back = read_generator(file, "g", at::kCPU);
    EXPECT_EQ(back.model.config.experts, 4);
    EXPECT_EQ(back.model.config.routing, "task");
    EXPECT_EQ(back.model.config.tasks, 3);
    EXPECT_LT(tests::relative_difference(logits_of(back.model), logits_of(generator.model)),
              stored == Stored::kInt8 ? 0.05 : 1e-12);
    EXPECT_EQ(file.tensors.at("decoder.blocks.1.feed_forward.experts.up.weight").scalar_type(),
              stored == Stored::kInt8 ? at::kChar : at::kFloat);
    EXPECT_EQ(file.tensors.at("decoder.blocks.1.feed_forward.router").scalar_type(), at::kFloat);
  }
}

TEST(GeneratorFile, StoredTwiceIsStoredOnce) {
  for (const Stored stored : {Stored::kFloat32, Stored::kBFloat16, Stored::kInt8}) {
    Generator generator = tiny_generator();
    const ModelFile file = generator_file(generator, stored);
    const Generator back = read_generator(file, "g", at::kCPU);
    EXPECT_EQ(logits_of(back.model).equal(logits_of(generator.model)), stored == Stored::kFloat32);
    const ModelFile again = generator_file(back, stored);
    ASSERT_EQ(again.tensors.size(), file.tensors.size());
    for (const auto& [key, tensor] : file.tensors) {
      EXPECT_TRUE(again.tensors.at(key).equal(tensor)) << key;
    }
  }
}

TEST(GeneratorFile, Int8HoldsTheNumbersOfPackedWeights) {
  Generator generator = tiny_generator();
  Generator back = read_generator(generator_file(generator, Stored::kInt8), "g", at::kCPU);
  const ParameterList before = parameters(generator.model), after = parameters(back.model);
  int matrices = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const Parameter& p = before[i];
    if (p.shape.size() != 2 || !p.name.ends_with(".weight")) {
      EXPECT_TRUE(after[i].tensor->equal(*p.tensor)) << p.name;
      continue;
    }
    ++matrices;
    const auto packed = [](const at::Tensor& matrix) {
      return kernels::unpack_weights(kernels::pack_weights(matrix, kernels::WeightFormat::kInt8));
    };
    EXPECT_TRUE(after[i].tensor->equal(packed(*p.tensor))) << p.name;
    EXPECT_TRUE(packed(*after[i].tensor).equal(packed(*p.tensor))) << p.name;
  }
  EXPECT_GT(matrices, 10);
}

TEST(GeneratorFile, LoadedModelDoesNotShareMemoryWithTheFile) {
  const ModelFile file = generator_file(tiny_generator(), Stored::kFloat32);
  read_generator(file, "g", at::kCPU).model.softmax.weight.zero_();
  EXPECT_GT(file.tensors.at("softmax.weight").abs().sum().item<float>(), 0);
}

void replace(std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
}

TEST(GeneratorFile, WhatDoesNotFitIsBadDataAndNamed) {
  const auto refused = [](const std::string& words, const std::function<void(ModelFile&)>& spoil) {
    ModelFile file = generator_file(tiny_generator(), Stored::kInt8);
    spoil(file);
    expect_error(ErrorKind::kBadData, "g: " + words, [&] { read_generator(file, "g", at::kCPU); });
  };
  refused("tensor \"decoder.norm.bias\" is missing",
          [](ModelFile& f) { f.tensors.erase("decoder.norm.bias"); });
  refused("tensor \"more\" is unexpected",
          [](ModelFile& f) { f.tensors["more"] = at::zeros({1}); });
  refused("tensor \"softmax.weight\": expected shape [29, 16], got [28, 16]", [](ModelFile& f) {
    f.tensors["softmax.weight"] = at::zeros({28, 16}, at::kChar);
  });
  refused("tensor \"softmax.weight.scales\": expected shape [29], got [28]",
          [](ModelFile& f) { f.tensors["softmax.weight.scales"] = at::zeros({28}); });
  refused("tensor \"softmax.weight.scales\" is unexpected", [](ModelFile& f) {
    f.tensors["softmax.weight"] = at::zeros({29, 16});
  });
  refused("tensor \"softmax.weight.scales\" is missing",
          [](ModelFile& f) { f.tensors.erase("softmax.weight.scales"); });
  refused("tensor \"start.scales\" is unexpected",
          [](ModelFile& f) { f.tensors["start.scales"] = at::zeros({1}); });
  refused("tensor \"softmax.weight\" holds a value that is not finite",
          [](ModelFile& f) { f.tensors["softmax.weight.scales"][3].fill_(INFINITY); });
  refused("tensor \"encoder.norm.bias\" holds a value that is not finite",
          [](ModelFile& f) { f.tensors["encoder.norm.bias"][0].fill_(NAN); });
  refused("tensor \"text_tokenizer\" is missing",
          [](ModelFile& f) { f.tensors.erase("text_tokenizer"); });
  refused("text_tokenizer",
          [](ModelFile& f) { f.tensors["text_tokenizer"] = at::zeros({100}, at::kByte); });
  refused("expected a text tokenizer of", [](ModelFile& f) {
    const int64_t pieces = tiny_generator().model.config.text_vocabulary;
    replace(f.config, concat("\"text_vocabulary\":", pieces),
            concat("\"text_vocabulary\":", pieces + 1));
  });
  refused("key \"text_depth\" is missing", [](ModelFile& f) { f.config = "{}"; });
  refused("unknown key \"colour\"", [](ModelFile& f) { replace(f.config, "{", "{\"colour\":1,"); });
  refused("ar::validate: heads: expected a divisor of width 16, got 3",
          [](ModelFile& f) { replace(f.config, "\"heads\":2", "\"heads\":3"); });
  refused("ar::validate: codebook_fingerprint: expected 64 hex digits, got \"A",
          [](ModelFile& f) { replace(f.config, "\"aaa", "\"Aaa"); });
  refused("ar::validate: tokenizer_name: expected at most 255 bytes of one line",
          [](ModelFile& f) { replace(f.config, "tiny.", "tiny\\n"); });
  refused("the config is of a parti, the file's kind is vim", [](ModelFile& f) { f.kind = "vim"; });
}

TEST(GeneratorFile, HugeConfigIsRefusedBeforeMemoryIsTaken) {
  ModelFile file = generator_file(tiny_generator(), Stored::kFloat32);
  replace(file.config, "\"hidden\":24", "\"hidden\":65536");
  expect_error(ErrorKind::kBadData, "feed_forward.up.weight\": expected shape [65536, 16]",
               [&] { read_generator(file, "g", at::kCPU); });
}

TEST(GeneratorFile, AnotherKindIsUnsupported) {
  ModelFile file = generator_file(tiny_generator(), Stored::kFloat32);
  file.kind = "vit_vqgan";
  expect_error(ErrorKind::kUnsupported,
               "g: expected a model of kind parti or vim, got \"vit_vqgan\"",
               [&] { read_generator(file, "g", at::kCPU); });
}

TEST(GeneratorFile, WriterRefusesWhatCannotBeRead) {
  Generator generator = tiny_generator();
  generator.text = nullptr;
  expect_error(ErrorKind::kUsage,
               "expected a text tokenizer just where the model reads text, got none",
               [&] { generator_file(generator, Stored::kFloat32); });
  generator = tiny_generator();
  generator.codebook_fingerprint = "";
  expect_error(ErrorKind::kUsage, "codebook_fingerprint: expected 64 hex digits",
               [&] { generator_file(generator, Stored::kFloat32); });
  generator = tiny_generator();
  generator.model.softmax.weight[0][0].fill_(3.4e38);  // past the largest bfloat16
  EXPECT_NO_THROW(generator_file(generator, Stored::kFloat32));
  expect_error(ErrorKind::kBadData, "tensor \"softmax.weight\" holds a value that is not finite",
               [&] { generator_file(generator, Stored::kBFloat16); });
}

}  // namespace
}  // namespace lexel::ar
