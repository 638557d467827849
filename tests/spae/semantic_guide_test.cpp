#include "spae/semantic_guide.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>

#include "spae/lexical_codebook.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::spae {
namespace {

using tests::expect_error;
using tests::random_tensor;
using tests::random_uniform;

DualEncoder random_guide() {
  GuideConfig config;
  config.image_size = 32;
  config.hidden = 16;
  config.word_width = 8;
  DualEncoder guide = dual_encoder_layout(config);
  uint64_t seed = 1;
  for (const Parameter& parameter : all_parameters(guide)) {
    int64_t inputs = 1;
    for (size_t i = 1; i < parameter.shape.size(); ++i) inputs *= parameter.shape[i];
    *parameter.tensor =
        random_tensor(seed++, parameter.shape) * (1.2 / std::sqrt(static_cast<double>(inputs)));
  }
  guide.feature_scale = at::full({vqgan::kDepthFeatures}, 2.0F);
  guide.class_vectors = unit_rows(guide.class_vectors);
  return guide;
}

class Guide : public testing::Test {
 protected:
  DualEncoder guide = random_guide();
  const at::Tensor pictures = random_uniform(1, {3, 3, 32, 32});
  const at::Tensor words = unit_rows(random_tensor(5, {20, 8}));
};

TEST_F(Guide, ScoresOfADrawingAreProductsOfItsVector) {
  guide.out.bias[8] = -1e4;  // never a photo
  const at::Tensor features = guide_features(guide, pictures);
  const at::Tensor scores = guide_scores(guide, features, words);
  const GuideView view = look(guide, standardised(guide, features));
  EXPECT_EQ(scores.sizes(), at::IntArrayRef({3, 20}));
  EXPECT_TRUE(at::equal(scores, at::matmul(view.vectors, words.t())));
  EXPECT_TRUE(at::allclose(at::linalg_vector_norm(view.vectors, 2, at::IntArrayRef{-1}),
                           at::full({3}, 1.0F)));
}

TEST_F(Guide, APhotosScoresAreHalfItsLikeliestClass) {
  guide.out.bias[8] = 1e4;  // always a photo
  // One class far ahead of all others, whatever is seen.
  guide.eye.classifier_bias = at::zeros({1000});
  guide.eye.classifier_bias[7] = 1e3;
  const at::Tensor features = guide_features(guide, pictures);
  const at::Tensor vectors = look(guide, standardised(guide, features)).vectors;
  const at::Tensor expected =
      at::matmul(vectors * 0.5 + guide.class_vectors.select(0, 7) * 0.5, words.t());
  EXPECT_TRUE(at::allclose(guide_scores(guide, features, words), expected, 1e-4, 1e-5));
}

TEST_F(Guide, OtherSizesAreScaled) {
  const at::Tensor flat = at::full({1, 3, 80, 80}, 0.3F);
  EXPECT_TRUE(at::allclose(guide_features(guide, flat),
                           guide_features(guide, at::full({1, 3, 32, 32}, 0.3F)), 1e-4, 1e-5));
}

TEST_F(Guide, FeaturesAreStandardisedAndEndSomewhere) {
  const at::Tensor x = standardised(guide, at::full({1, vqgan::kDepthFeatures}, 1e6F));
  EXPECT_TRUE(x.eq(5.0).all().item<bool>());
}

TEST_F(Guide, IsAGuideForOneListOfWords) {
  const DualEncoderGuide semantic(guide, words);
  EXPECT_TRUE(at::equal(semantic.scores(pictures),
                        guide_scores(guide, guide_features(guide, pictures), words)));
  expect_error(ErrorKind::kUsage, "words of 8 numbers", [&] {
    DualEncoderGuide(guide, random_tensor(1, {4, 9}));
  });
}

TEST_F(Guide, RejectsWhatCannotBe) {
  expect_error(ErrorKind::kUsage, "(B, 3, H, W) float32", [&] {
    guide_features(guide, at::zeros({3, 32, 32}));
  });
  GuideConfig config;
  config.classes = 1001;
  expect_error(ErrorKind::kUsage, "classes: expected 1 to 1000", [&] { validate(config); });
}

}  // namespace
}  // namespace lexel::spae
