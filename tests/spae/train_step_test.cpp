#include "spae/train_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/spae/tiny_spae.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::spae {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using tests::expect_error;
using tests::random_tensor;
using tests::random_uniform;

std::vector<std::string> names(const LossTerms& terms) {
  std::vector<std::string> result;
  for (const auto& [name, value] : terms) result.push_back(name);
  return result;
}

at::Tensor term(const LossTerms& terms, const std::string& name) {
  for (const auto& [key, value] : terms)
    if (key == name) return value;
  ADD_FAILURE() << "no term " << name;
  return at::zeros({});
}

class TrainStep : public testing::Test {
 protected:
  TrainStep() {
    Config config = tests::tiny_spae("vit");
    config.feature_width = 6;
    config.feature_hidden = 10;
    model = tests::tiny_spae_model(config);
    require_gradients(parameters(model), true);
    batch.images = random_uniform(1, {2, 3, 16, 16});
    batch.features = random_tensor(2, {2, 6});
    batch.targets = word_targets(random_tensor(3, {2, 40}), {}, 8);
  }

  Model model;
  TrainSetup setup;
  TrainBatch batch;
};

TEST_F(TrainStep, ReachesEveryTrainedParameter) {
  generator_step(model, setup, batch).total.backward();
  for (const Parameter& parameter : parameters(model)) {
    if (!parameter.trained) continue;
    ASSERT_TRUE(parameter.tensor->grad().defined()) << parameter.name;
    EXPECT_GT(parameter.tensor->grad().abs().sum().item<double>(), 0.0) << parameter.name;
  }
}

TEST_F(TrainStep, TheSemanticLossWeighsAsMuchAsThePictures) {
  setup.weights.entropy = 0.0;
  const GeneratorStep step = generator_step(model, setup, batch);
  EXPECT_THAT(names(step.terms),
              ElementsAre("l2", "l1", "commitment", "semantic", "semantic_weight"));
  const double pictures =
      (term(step.terms, "l2") * setup.weights.l2 + term(step.terms, "l1") * setup.weights.l1 +
       term(step.terms, "commitment") * setup.weights.commitment)
          .item<double>();
  EXPECT_NEAR(step.total.item<double>(), 2 * pictures, 1e-5 * pictures + 1e-6);
  EXPECT_NEAR((term(step.terms, "semantic") * term(step.terms, "semantic_weight")).item<double>(),
              pictures, 1e-5);
}

TEST_F(TrainStep, WithoutTargetsThereIsNoSemanticLoss) {
  batch.targets = {};
  EXPECT_THAT(names(generator_step(model, setup, batch).terms), Not(Contains("semantic")));
}

TEST_F(TrainStep, ABatchIsTheSameTwiceAndAnotherNumberDrawsOtherWords) {
  const auto semantic = [this] {
    return term(generator_step(model, setup, batch).terms, "semantic").item<double>();
  };
  setup.weights.pools = "0.1 0.1 0.1";
  const double first = semantic();
  EXPECT_EQ(semantic(), first);
  batch.number = 1;
  EXPECT_NE(semantic(), first);
}

TEST_F(TrainStep, LearnsTheWordsItIsTaught) {
  // Plain descent on the semantic path alone: the upper layer's words become the targets.
  setup.weights = {.l1 = 0.0, .commitment = 0.0, .entropy = 0.0};
  for (int i = 0; i < 300; ++i) {
    for (const Parameter& parameter : parameters(model)) parameter.tensor->mutable_grad().reset();
    generator_step(model, setup, batch).total.backward();
    for (at::Tensor* tensor :
         {&model.semantic_path.heads.weight, &model.semantic_path.heads.bias}) {
      tensor->data().sub_(tensor->grad() * 20.0);
    }
  }
  const at::Tensor ids = encode(model, batch.images, batch.features);
  EXPECT_TRUE(at::equal(ids.narrow(1, 0, 5), batch.targets.ids.narrow(1, 0, 5)));
}

TEST_F(TrainStep, TheDiscriminatorAndTheGeneratorLeaveEachOtherAlone) {
  vqgan::DiscriminatorConfig config;
  config.image_size = 16;
  config.channel_base = 128;
  config.max_channels = 8;
  config.group = 2;
  vqgan::Discriminator discriminator = vqgan::make_discriminator(config, 1, at::kCPU);
  require_gradients(vqgan::parameters(discriminator), true);
  setup.discriminator = &discriminator;
  setup.weights.adversarial = 0.1;
  setup.weights.lecam = 0.01;
  const GeneratorStep step = generator_step(model, setup, batch);
  EXPECT_THAT(names(step.terms), Contains("adversarial"));
  step.total.backward();
  for (const Parameter& parameter : vqgan::parameters(discriminator))
    EXPECT_FALSE(parameter.tensor->grad().defined()) << parameter.name;
  for (const Parameter& parameter : parameters(model)) parameter.tensor->mutable_grad().reset();
  const DiscriminatorStep judged =
      discriminator_step(setup, batch.images, step.forward.pictures, at::zeros({}), at::zeros({}));
  EXPECT_THAT(names(judged.terms), ElementsAre("discriminator", "lecam"));
  judged.total.backward();
  EXPECT_TRUE(discriminator.score_weight.grad().defined());
  for (const Parameter& parameter : parameters(model))
    EXPECT_FALSE(parameter.tensor->grad().defined()) << parameter.name;
}

TEST_F(TrainStep, RejectsWeightsThatCannotBe) {
  const auto rejects = [&](const std::string& message, auto&& change) {
    TrainSetup other = setup;
    change(other.weights);
    expect_error(ErrorKind::kUsage, message, [&] { generator_step(model, other, batch); });
  };
  rejects("entropy: expected at least 0", [](LossWeights& w) { w.entropy = -1; });
  rejects("pools: expected numbers of 0 to 1", [](LossWeights& w) { w.pools = "0.9 x"; });
  rejects("semantic_layers: expected 0 to 2", [](LossWeights& w) { w.pools = "0.9 0.8"; });
  rejects("word_scale", [](LossWeights& w) { w.word_scale = 0; });
  rejects("reconstruction loss", [](LossWeights& w) { w.l1 = w.l2 = 0; });
  expect_error(ErrorKind::kUsage, "expected a discriminator", [&] {
    discriminator_step(setup, batch.images, batch.images, at::zeros({}), at::zeros({}));
  });
}

}  // namespace
}  // namespace lexel::spae
