#include "tokenizers/key_rules.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel {
namespace {

using tests::expect_error;

const KeyRules kRules = {{"*.layers.*.norm.*", "*.blocks.*.n.*"},
                         {"conv.weight", "patch.weight", Transform::kFlatten},
                         {"deconv.weight", "pixels.weight", Transform::kFlattenTransposed},
                         {"deconv.bias", "pixels.bias", Transform::kRepeatPerPixel},
                         {"table", "positions", Transform::kDropFirstAxis},
                         {"loss.**", ""}};

TEST(KeyRules, StarsAreTakenOverInOrder) {
  const auto out = apply_rules(kRules, {{"encoder.layers.12.norm.bias", at::zeros({2})}}, 2, "x");
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out.begin()->first, "encoder.blocks.12.n.bias");
  EXPECT_EQ(their_name(kRules, "encoder.blocks.12.n.bias"), "encoder.layers.12.norm.bias");
  EXPECT_EQ(their_name(kRules, "unheard.of"), "unheard.of");
}

TEST(KeyRules, DroppedKeysAreGone) {
  EXPECT_TRUE(apply_rules(kRules, {{"loss.a.b.c", at::zeros({2})}}, 2, "x").empty());
}

TEST(KeyRules, TransformsMoveTheValues) {
  const at::Tensor kernel = at::arange(24, at::kFloat).view({2, 3, 2, 2});
  const auto out = apply_rules(kRules,
                               {{"conv.weight", kernel},
                                {"deconv.weight", kernel},
                                {"deconv.bias", at::tensor({1.0f, 2.0f})},
                                {"table", kernel.view({1, 6, 4})}},
                               2, "x");
  EXPECT_TRUE(out.at("patch.weight").equal(kernel.view({2, 12})));
  EXPECT_TRUE(out.at("pixels.weight").equal(kernel.view({2, 12}).t()));
  EXPECT_TRUE(
      out.at("pixels.bias").equal(at::tensor({1.0f, 1.0f, 1.0f, 1.0f, 2.0f, 2.0f, 2.0f, 2.0f})));
  EXPECT_EQ(out.at("positions").sizes(), (at::IntArrayRef{6, 4}));
}

TEST(KeyRules, KeysThatNoRuleKnowsAndWrongShapesAreNamed) {
  const auto refused = [](const std::string& words, const TensorMap& tensors) {
    expect_error(ErrorKind::kBadData, words, [&] { apply_rules(kRules, tensors, 2, "x"); });
  };
  for (const char* key :
       {"encoder.layers.0.norm", "encoder.layers.0.norm.a.b", "layers.0.norm.a", "", "conv"}) {
    refused(std::string("x: tensor \"") + key + "\" does not belong to this family",
            {{key, at::zeros({1})}});
  }
  refused("tensor \"table\": expected shape (1, ...), got [2, 6]", {{"table", at::zeros({2, 6})}});
  refused("tensor \"conv.weight\": expected shape (D, ...), got [2]",
          {{"conv.weight", at::zeros({2})}});
  refused("tensor \"deconv.weight\": expected", {{"deconv.weight", at::zeros({2})}});
  refused("tensor \"deconv.bias\": expected shape (C)", {{"deconv.bias", at::zeros({2, 2})}});
}

}  // namespace
}  // namespace lexel
