#include "spae/semantic_path.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <gtest/gtest.h>

#include "spae/model.h"
#include "tests/spae/tiny_spae.h"
#include "tests/support/random_tensor.h"

namespace lexel::spae {
namespace {

using tests::random_tensor;

/// A tiny model whose upper words are a guide's: it may say the odd words of its forty.
Model guided_model() {
  Config config = tests::tiny_spae_with_options("vit");
  config.upper_words = "guide";
  config.semantic_width = 12;
  config.semantic_words = 20;
  Model model = tests::tiny_spae_model(config);
  for (int64_t i = 0; i < 20; ++i) model.semantic_path.rows[i] = static_cast<double>(2 * i + 1);
  return model;
}

TEST(SemanticPath, TheUpperWordsAreTheGuidesInTheirOrder) {
  const Model model = guided_model();
  const at::Tensor images = tests::random_uniform(1, {3, 3, 16, 16}),
                   features = random_tensor(2, {3, 6});
  const SemanticPath& path = model.semantic_path;
  const at::Tensor hidden =
      at::gelu(at::linear(features, path.hidden.weight, path.hidden.bias), "tanh");
  const at::Tensor scores =
      at::matmul(at::linear(hidden, path.out.weight, path.out.bias), path.vectors.t());
  const at::Tensor best = std::get<1>(scores.topk(5, 1)) * 2 + 1;  // rows of the codebook
  EXPECT_TRUE(encode(model, images, features).narrow(1, 0, 5).equal(best));
}

TEST(SemanticPath, AGuideIsNeverTrainedAndTheBodyStillIs) {
  Model model = guided_model();
  const ParameterList list = parameters(model);
  int64_t fixed = 0;
  for (const Parameter& parameter : list) {
    const bool of_path = parameter.name.starts_with("semantic_path.");
    EXPECT_TRUE(!of_path || !parameter.trained) << parameter.name;
    fixed += of_path;
  }
  EXPECT_EQ(fixed, 6);
  require_gradients(list, true);
  ForwardOptions options;
  options.features = random_tensor(4, {2, 6});
  const Forward f = forward(model, tests::random_uniform(2, {2, 3, 16, 16}), options);
  f.pictures.sum().backward();
  EXPECT_FALSE(model.semantic_path.hidden.weight.grad().defined());
  int64_t reached = 0;
  for (const Parameter& parameter : list) reached += parameter.tensor->grad().defined();
  EXPECT_GT(reached, 20);
}

TEST(SemanticPath, RowsAreWholeNumbersOfTheCodebookEachOnce) {
  EXPECT_TRUE(are_rows(at::tensor({0.0F, 7.0F, 3.0F}), 8));
  EXPECT_FALSE(are_rows(at::tensor({0.0F, 8.0F}), 8));
  EXPECT_FALSE(are_rows(at::tensor({-1.0F, 2.0F}), 8));
  EXPECT_FALSE(are_rows(at::tensor({1.5F, 2.0F}), 8));
  EXPECT_FALSE(are_rows(at::tensor({2.0F, 2.0F}), 8));
}

}  // namespace
}  // namespace lexel::spae
