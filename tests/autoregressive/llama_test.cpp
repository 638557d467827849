#include "autoregressive/llama.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/autoregressive/tiny_llama.h"
#include "tests/support/expect_error.h"
#include "tests/support/run_program.h"
#include "tokenizers/io/gguf.h"

namespace lexel::ar {
namespace {

using tests::expect_error;
using tests::relative_difference;
using Ids = std::vector<int64_t>;

const Ids kText = {3, 14, 15, 9, 26, 5, 35, 8, 58, 9, 7, 9, 32, 3, 8, 46, 26, 4, 33, 60};

/// The model as the paper has it, in float64 and all at once. returns (n, V): logits after each token
at::Tensor reference(const Llama& model, const Ids& text) {
  const LlamaConfig& c = model.config;
  const auto n = static_cast<int64_t>(text.size());
  const int64_t head = c.width / c.heads;
  const auto norm = [&](const at::Tensor& x, const at::Tensor& weight) {
    return x / (x * x).mean(-1, true).add(c.norm_epsilon).sqrt() * weight.to(at::kDouble);
  };
  const auto linear = [](const at::Tensor& x, const at::Tensor& weight) {
    return at::matmul(x, weight.to(at::kDouble).t());
  };
  const at::Tensor angles_rad =  // (n, 1, d / 2)
      (at::arange(n, at::kDouble).unsqueeze(1) *
       at::pow(c.rope_base, at::arange(head / 2, at::kDouble) * (-2.0 / double(head))))
          .unsqueeze(1);
  const auto turn = [&](const at::Tensor& x) {  // (n, heads, d): pairs as complex numbers
    const at::Tensor even = x.slice(-1, 0, head, 2), odd = x.slice(-1, 1, head, 2);
    return at::stack({even * angles_rad.cos() - odd * angles_rad.sin(),
                      even * angles_rad.sin() + odd * angles_rad.cos()},
                     -1)
        .flatten(-2);
  };
  at::Tensor ids = at::arange(n, at::kLong);
  for (int64_t i = 0; i < n; ++i) ids[i].fill_(text[static_cast<size_t>(i)]);
  const at::Tensor hidden_keys = at::ones({n, n}, at::kBool).triu(1);
  at::Tensor x = model.embedding.index_select(0, ids).to(at::kDouble);
  for (const LlamaBlock& block : model.blocks) {
    const at::Tensor rows =
        linear(norm(x, block.attention_norm), block.qkv).view({n, c.heads + 2 * c.key_heads, head});
    const at::Tensor q = turn(rows.slice(1, 0, c.heads));
    const at::Tensor k = turn(rows.slice(1, c.heads, c.heads + c.key_heads));
    const at::Tensor v = rows.slice(1, c.heads + c.key_heads);
    std::vector<at::Tensor> heads;
    for (int64_t h = 0; h < c.heads; ++h) {
      const int64_t g = h / (c.heads / c.key_heads);
      const at::Tensor scores =
          at::matmul(q.select(1, h), k.select(1, g).t()) / std::sqrt(double(head));
      heads.push_back(
          at::matmul(at::softmax(scores.masked_fill(hidden_keys, -INFINITY), -1), v.select(1, g)));
    }
    x = x + linear(at::cat(heads, 1), block.out);
    const at::Tensor both = linear(norm(x, block.feed_forward_norm), block.gate_up);
    x = x + linear(at::silu(both.slice(1, 0, c.hidden)) * both.slice(1, c.hidden), block.down);
  }
  return linear(norm(x, model.norm), model.head);
}

TEST(Llama, FeedsAnyPartsAsTheReference) {
  const at::Tensor wanted = reference(tests::tiny_llama(), kText);
  const PackedLlama model = pack(tests::tiny_llama(), LlamaPrecision::kFloat32);
  for (const size_t part : {1UL, 3UL, 7UL, kText.size()}) {
    LlamaDecoder decoder(model, 32);
    for (size_t begin = 0; begin < kText.size(); begin += part) {
      const size_t end = std::min(begin + part, kText.size());
      const at::Tensor logits = decoder.feed(
          {kText.begin() + std::ptrdiff_t(begin), kText.begin() + std::ptrdiff_t(end)});
      EXPECT_LT(relative_difference(logits, wanted[int64_t(end) - 1]), 1e-5) << part << " " << end;
    }
    EXPECT_EQ(decoder.length(), int64_t(kText.size()));
  }
}

TEST(Llama, TheFastOneIsNear) {
  const at::Tensor wanted = reference(tests::tiny_llama(), kText);
  const PackedLlama model = pack(tests::tiny_llama(), LlamaPrecision::kFast);
  for (const size_t part : {1UL, 7UL, kText.size()}) {  // int8, int8, bfloat16
    LlamaDecoder decoder(model, 32);
    at::Tensor logits;
    for (size_t begin = 0; begin < kText.size(); begin += part) {
      const size_t end = std::min(begin + part, kText.size());
      logits = decoder.feed(
          {kText.begin() + std::ptrdiff_t(begin), kText.begin() + std::ptrdiff_t(end)});
    }
    EXPECT_LT(relative_difference(logits, wanted[-1]), 0.05) << part;
  }
}

TEST(Llama, RewoundTextGoesOnAsIfNew) {
  const PackedLlama model = pack(tests::tiny_llama(), LlamaPrecision::kFloat32);
  LlamaDecoder decoder(model, 32);
  decoder.feed(kText);
  decoder.rewind(4);
  Ids other(kText.begin(), kText.begin() + 4);
  other.insert(other.end(), {50, 2, 2});
  const at::Tensor logits = decoder.feed({50, 2, 2});
  EXPECT_LT(relative_difference(logits, reference(tests::tiny_llama(), other)[-1]), 1e-5);
  expect_error(ErrorKind::kUsage, "expected 0..7 tokens to keep, got 8",
               [&] { decoder.rewind(8); });
}

TEST(Llama, ATreeOfTokensSeesItsOwnBranchOnly) {
  const PackedLlama model = pack(tests::tiny_llama(), LlamaPrecision::kFloat32);
  LlamaDecoder decoder(model, 32);
  const Ids text(kText.begin(), kText.begin() + 6);
  decoder.feed(text);
  //   20 -> 21 -> 22     parents: text, 0, 1
  //      -> 23                    0
  //   24                          text
  const Ids tokens = {20, 21, 22, 23, 24}, parents = {-1, 0, 1, 0, -1};
  const at::Tensor logits = decoder.logits(decoder.look_ahead(tokens, parents));
  const std::vector<Ids> branches = {{20}, {20, 21}, {20, 21, 22}, {20, 23}, {24}};
  for (size_t i = 0; i < branches.size(); ++i) {
    Ids whole = text;
    whole.insert(whole.end(), branches[i].begin(), branches[i].end());
    EXPECT_LT(relative_difference(logits[int64_t(i)], reference(tests::tiny_llama(), whole)[-1]),
              1e-5)
        << i;
  }
  EXPECT_EQ(decoder.length(), 6);  // and the text goes on as it was
  Ids whole = text;
  whole.push_back(7);
  EXPECT_LT(relative_difference(decoder.feed({7}), reference(tests::tiny_llama(), whole)[-1]),
            1e-5);
  expect_error(ErrorKind::kUsage, "expected an earlier node before 0, got 0",
               [&] { decoder.look_ahead({1}, {0}); });
}

TEST(Llama, RefusesTooManyTokensAndUnknownOnes) {
  const PackedLlama model = pack(tests::tiny_llama(), LlamaPrecision::kFloat32);
  LlamaDecoder decoder(model, 4);
  expect_error(ErrorKind::kUsage, "expected 1 to 4 more tokens after 0, got 5", [&] {
    decoder.feed({1, 2, 3, 4, 5});
  });
  expect_error(ErrorKind::kUsage, "expected 1 to 4 more tokens", [&] { decoder.feed({}); });
  expect_error(ErrorKind::kBadData, "id 61 of a vocabulary of 61", [&] { decoder.feed({61}); });
  expect_error(ErrorKind::kBadData, "id -1", [&] { decoder.feed({-1}); });
  expect_error(ErrorKind::kUnsupported, "ask for a shorter context",
               [&] { LlamaDecoder(model, int64_t{1} << 50); });
}

TEST(Llama, IsReadFromAFile) {
  const GgufFile file(tests::tiny_gguf().bytes(), "tiny.gguf");
  const Llama model = load_llama(file);
  const at::Tensor wanted = reference(tests::tiny_llama(), kText);
  EXPECT_LT(relative_difference(reference(model, kText), wanted), 1e-6);
  EXPECT_TRUE(model.head.is_same(model.embedding));
}

TEST(Llama, RefusesAFileThatDoesNotFit) {
  const auto load = [](const tests::MadeGguf& made) {
    load_llama(GgufFile(made.bytes(), "tiny.gguf"));
  };
  expect_error(ErrorKind::kBadData, "tensor \"blk.1.ffn_up.weight\" is missing",
               [&] { load(tests::tiny_gguf("blk.1.ffn_up.weight")); });
  const float values[32] = {};
  tests::MadeGguf made = tests::tiny_gguf("output_norm.weight");
  made.add_floats("output_norm.weight", {8}, values);
  expect_error(ErrorKind::kBadData, "\"output_norm.weight\": expected [32], got [8]",
               [&] { load(made); });
  made = tests::tiny_gguf();
  made.add_floats("blk.0.attn_q.bias", {32}, values);
  expect_error(ErrorKind::kUnsupported, "\"blk.0.attn_q.bias\" is none of a plain Llama's",
               [&] { load(made); });
  made = tests::tiny_gguf();
  made.add_text("llama.rope.scaling.type", "yarn");
  expect_error(ErrorKind::kUnsupported, "rotations scaled by \"yarn\"", [&] { load(made); });
  made = tests::MadeGguf();
  made.add_text("general.architecture", "gemma3");
  expect_error(ErrorKind::kUnsupported, "a model of type \"gemma3\"", [&] { load(made); });
  LlamaConfig config = tests::tiny_llama_config();
  config.key_heads = 3;
  expect_error(ErrorKind::kBadData, "do not divide", [&] { validate(config); });
  config.key_heads = 0;
  expect_error(ErrorKind::kBadData, "key_heads is 0", [&] { validate(config); });
}

// Logits of transformers 5.23.0, float32 on the dequantised weights (PyTorch 2.11): its five likeliest tokens and every
// 4,099th, after four texts.
TEST(Llama, SmolLm2LogitsEqualTransformers) {
  const std::string source = LEXEL_SOURCE_DIR;
  const std::string path = source + "/data/smollm2-135m-instruct-q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "run `lexel data fetch smollm2`";
  const PackedLlama model = pack(load_llama(GgufFile(path)), LlamaPrecision::kFloat32);
  LlamaDecoder decoder(model, 128);
  const auto cases =
      nlohmann::json::parse(tests::read_text(source + "/tests/data/smollm2_logits.json"));
  ASSERT_EQ(cases.size(), 4);
  for (const auto& item : cases) {
    decoder.rewind(0);
    const at::Tensor logits = decoder.feed(item["ids"].get<Ids>());
    const auto select = item["select"].get<Ids>();
    const auto wanted = item["logits"].get<std::vector<float>>();
    for (size_t i = 0; i < select.size(); ++i)
      EXPECT_NEAR(logits[select[i]].item<float>(), wanted[i], 1e-3) << select[i];
    EXPECT_NEAR(at::logsumexp(logits, 0).item<float>(), item["logsumexp"].get<float>(), 1e-3);
  }
}

}  // namespace
}  // namespace lexel::ar
