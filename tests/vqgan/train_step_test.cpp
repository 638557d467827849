#include "vqgan/train_step.h"

#include <ATen/TensorOperators.h>
#include <cmath>
#include <gtest/gtest.h>
#include <string>

#include "kernels/logit_laplace.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::vqgan {
namespace {

using tests::expect_error;
using tests::random_uniform;

Config tiny_config(const std::string& output) {
  Config config;
  config.image_size = 16;
  config.encoder = {.depth = 1, .width = 32, .heads = 2, .head_width = 16, .hidden = 64};
  config.decoder = config.encoder;
  config.codebook_size = 16;
  config.code_width = 8;
  config.output = output;
  return config;
}

struct Fixture {
  explicit Fixture(const std::string& output = "rgb")
      : model(make_model(tiny_config(output), 1, at::kCPU)),
        discriminator(make_discriminator(
            {.image_size = 16, .channel_base = 64, .max_channels = 8, .group = 2}, 2, at::kCPU)),
        images(random_uniform(3, {4, 3, 16, 16})) {
    require_gradients(parameters(model), true);
    require_gradients(parameters(discriminator), true);
  }
  TrainSetup setup() const {
    return {.weights = {}, .compute = at::kFloat, .discriminator = &discriminator};
  }

  Model model;
  Discriminator discriminator;
  at::Tensor images;
};

std::string names(const LossTerms& terms) {
  std::string result;
  for (const auto& [name, value] : terms) result += name + " ";
  return result;
}

double value(const LossTerms& terms, const std::string& wanted) {
  for (const auto& [name, number] : read(terms)) {
    if (name == wanted) return number;
  }
  ADD_FAILURE() << "no term " << wanted;
  return 0;
}

TEST(GeneratorStep, TotalIsTheWeightedSumOfItsTerms) {
  const Fixture f("logit_laplace");
  const GeneratorStep step = generator_step(f.model, f.setup(), f.images, 0);
  EXPECT_EQ(names(step.terms), "loss l2 logit_laplace adversarial codebook commitment ");
  const double wanted = value(step.terms, "l2") + 0.1 * value(step.terms, "logit_laplace") +
                        0.1 * value(step.terms, "adversarial") + value(step.terms, "codebook") +
                        0.25 * value(step.terms, "commitment");
  EXPECT_NEAR(step.total.item<double>(), wanted, 1e-5 * std::abs(wanted));
  EXPECT_EQ(value(step.terms, "loss"), step.total.item<double>());
}

TEST(GeneratorStep, TermsAreTheLossFunctionsOfTheForwardPass) {
  const Fixture f("logit_laplace");
  const GeneratorStep step = generator_step(f.model, f.setup(), f.images, 0);
  const Forward& pass = step.forward;
  EXPECT_EQ(value(step.terms, "l2"), l2_loss(pass.pictures, f.images).item<double>());
  EXPECT_EQ(value(step.terms, "logit_laplace"),
            kernels::logit_laplace_loss(pass.output, f.images).item<double>());
  EXPECT_EQ(value(step.terms, "codebook"), codebook_loss(pass.latents, pass.codes).item<double>());
  EXPECT_LT(tests::relative_difference(pass.pictures, logit_laplace_reconstruction(pass.output)),
            1e-5);
}

TEST(GeneratorStep, PlainPicturesHaveNoLogitLaplaceTerm) {
  const Fixture f("rgb");
  EXPECT_EQ(names(generator_step(f.model, f.setup(), f.images, 0).terms),
            "loss l2 adversarial codebook commitment ");
}

TEST(GeneratorStep, GradientReachesTheModelAndNotTheDiscriminator) {
  Fixture f;
  generator_step(f.model, f.setup(), f.images, 0).total.backward();
  for (const Parameter& parameter : parameters(f.model)) {
    if (!parameter.trained) continue;
    ASSERT_TRUE(parameter.tensor->grad().defined()) << parameter.name;
    EXPECT_GT(parameter.tensor->grad().abs().max().item<float>(), 0) << parameter.name;
  }
  for (const Parameter& parameter : parameters(f.discriminator)) {
    EXPECT_FALSE(parameter.tensor->grad().defined()) << parameter.name;
    EXPECT_TRUE(parameter.tensor->requires_grad()) << parameter.name;
  }
}

TEST(GeneratorStep, AdversarialLossStartsAtItsStep) {
  const Fixture f;
  TrainSetup setup = f.setup();
  setup.weights.discriminator_start = 5;
  EXPECT_FALSE(discriminator_active(setup, 4));
  EXPECT_TRUE(discriminator_active(setup, 5));
  EXPECT_EQ(names(generator_step(f.model, setup, f.images, 4).terms),
            "loss l2 codebook commitment ");
  EXPECT_EQ(names(generator_step(f.model, setup, f.images, 5).terms),
            "loss l2 adversarial codebook commitment ");
  setup.weights.adversarial = 0;
  EXPECT_FALSE(discriminator_active(setup, 5));
  setup = f.setup();
  setup.discriminator = nullptr;
  EXPECT_FALSE(discriminator_active(setup, 5));
}

TEST(GeneratorStep, AdaptiveWeightScalesTheAdversarialTerm) {
  const Fixture f;
  TrainSetup setup = f.setup();
  setup.weights.adaptive = true;
  const GeneratorStep step = generator_step(f.model, setup, f.images, 0);
  const double factor = value(step.terms, "adaptive_weight");
  EXPECT_GT(factor, 0);
  const double wanted = value(step.terms, "l2") + 0.1 * factor * value(step.terms, "adversarial") +
                        value(step.terms, "codebook") + 0.25 * value(step.terms, "commitment");
  EXPECT_NEAR(step.total.item<double>(), wanted, 1e-5 * std::abs(wanted));
  step.total.backward();
  EXPECT_TRUE(f.model.decoder.stack.head.weight.grad().defined());
}

TEST(GeneratorStep, RelativeFloorDividesEachPicturesLossByItsOwnError) {
  const Fixture f;
  TrainSetup setup = f.setup();
  setup.weights.adversarial = 0;
  setup.weights.codebook = 0;
  setup.weights.commitment = 0;
  setup.weights.relative_floor = 0.01;
  const GeneratorStep step = generator_step(f.model, setup, f.images, 0);
  double wanted = 0;
  for (int64_t i = 0; i < 4; ++i) {
    const double error =
        l2_loss(step.forward.pictures.narrow(0, i, 1), f.images.narrow(0, i, 1)).item<double>();
    wanted += error / (error + 0.01) / 4;
  }
  EXPECT_NEAR(step.total.item<double>(), wanted, 1e-5);
  // The logged term stays the plain one, so that runs compare.
  EXPECT_EQ(value(step.terms, "l2"), l2_loss(step.forward.pictures, f.images).item<double>());
}

TEST(GeneratorStep, RelativeFloorWeighsTheCommitmentAlike) {
  const Fixture f;
  TrainSetup setup = f.setup();
  setup.weights.adversarial = 0;
  setup.weights.codebook = 0;
  setup.weights.commitment = 0.25;
  setup.weights.relative_floor = 0.01;
  const GeneratorStep step = generator_step(f.model, setup, f.images, 0);
  double wanted = 0;
  for (int64_t i = 0; i < 4; ++i) {
    const auto of = [i](const at::Tensor& batch) { return batch.narrow(0, i, 1); };
    const Forward& pass = step.forward;
    const double error = l2_loss(of(pass.pictures), of(f.images)).item<double>();
    const double distance = commitment_loss(of(pass.latents), of(pass.codes)).item<double>();
    wanted += (error + 0.25 * distance) / (error + 0.01) / 4;
  }
  EXPECT_NEAR(step.total.item<double>(), wanted, 1e-5 * wanted);
}

TEST(DiscriminatorStep, TotalIsItsLossPlusR1AtItsSteps) {
  const Fixture f;
  TrainSetup setup = f.setup();
  setup.weights.r1_interval = 4;
  setup.weights.discriminator_start = 1;
  const at::Tensor fakes = random_uniform(4, {4, 3, 16, 16});
  const DiscriminatorStep plain = discriminator_step(setup, f.images, fakes, 2);
  EXPECT_EQ(names(plain.terms), "discriminator real_score fake_score ");
  EXPECT_EQ(plain.total.item<double>(), value(plain.terms, "discriminator"));
  const DiscriminatorStep penalised = discriminator_step(setup, f.images, fakes, 5);
  EXPECT_EQ(names(penalised.terms), "discriminator real_score fake_score r1 ");
  const double wanted =
      value(penalised.terms, "discriminator") + 10.0 / 2 * 4 * value(penalised.terms, "r1");
  EXPECT_NEAR(penalised.total.item<double>(), wanted, 1e-5 * wanted);
  EXPECT_GT(value(penalised.terms, "r1"), 0);
}

TEST(DiscriminatorStep, GradientReachesTheDiscriminatorAndNotTheModel) {
  Fixture f;
  const GeneratorStep generated = generator_step(f.model, f.setup(), f.images, 0);
  discriminator_step(f.setup(), f.images, generated.forward.pictures, 0).total.backward();
  for (const Parameter& parameter : parameters(f.discriminator)) {
    EXPECT_TRUE(parameter.tensor->grad().defined()) << parameter.name;
  }
  for (const Parameter& parameter : parameters(f.model)) {
    EXPECT_FALSE(parameter.tensor->grad().defined()) << parameter.name;
  }
}

TEST(TrainStep, TheLossFallsOnOneBatch) {
  Fixture f;
  TrainSetup setup = f.setup();
  setup.weights.adversarial = 0;
  double first = 0;
  double last = 0;
  for (int step = 0; step < 40; ++step) {
    const GeneratorStep result = generator_step(f.model, setup, f.images, step);
    last = value(result.terms, "l2");
    if (step == 0) first = last;
    result.total.backward();
    for (const Parameter& parameter : parameters(f.model)) {
      if (!parameter.trained) continue;
      at::Tensor& weight = *parameter.tensor;
      weight = (weight - 0.1 * weight.grad()).detach().requires_grad_();
    }
  }
  EXPECT_LT(last, 0.9 * first);
}

TEST(TrainStep, Bfloat16IsNearFloat32) {
  const Fixture f;
  TrainSetup setup = f.setup();
  const double wanted = value(generator_step(f.model, setup, f.images, 0).terms, "l2");
  setup.compute = at::kBFloat16;
  EXPECT_NEAR(value(generator_step(f.model, setup, f.images, 0).terms, "l2"), wanted,
              0.02 * wanted);
}

TEST(TrainStep, RejectsWhatCannotBe) {
  const Fixture f;
  const auto rejects = [&](const std::string& text, auto&& change) {
    TrainSetup setup = f.setup();
    change(setup);
    expect_error(ErrorKind::kUsage, text, [&] { generator_step(f.model, setup, f.images, 0); });
  };
  rejects("l2 >= 0", [](TrainSetup& s) { s.weights.l2 = -1; });
  rejects("a reconstruction loss", [](TrainSetup& s) { s.weights.l2 = 0; });
  const Discriminator other = make_discriminator(small_discriminator(), 1, at::kCPU);
  rejects("(B, 3, 128, 128)", [&](TrainSetup& s) { s.discriminator = &other; });
  TrainSetup none = f.setup();
  none.discriminator = nullptr;
  expect_error(ErrorKind::kUsage, "expected a discriminator",
               [&] { discriminator_step(none, f.images, f.images, 0); });
}

TEST(LossTerms, EmptyReadsAsEmpty) { EXPECT_TRUE(read({}).empty()); }

}  // namespace
}  // namespace lexel::vqgan
