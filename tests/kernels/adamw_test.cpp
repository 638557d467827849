#include "kernels/adamw.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::random_tensor;

TEST(AdamWReference, OneStepByHand) {
  const at::Tensor w = at::tensor({1.0f}), m = at::zeros({1}), v = at::zeros({1});
  adamw_reference_(w, at::tensor({0.5f}), m, v,
                   {.learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.2});
  EXPECT_NEAR(m.item<float>(), 0.05, 1e-7);
  EXPECT_NEAR(v.item<float>(), 0.0025, 1e-8);
  // m / (1 - 0.9) = 0.5 and sqrt(v / (1 - 0.99)) = 0.5: a step of the rate; decay 1 - 0.1 * 0.2.
  EXPECT_NEAR(w.item<float>(), 0.98 - 0.1, 1e-6);
}

class AdamW : public testing::TestWithParam<std::vector<int64_t>> {};

TEST_P(AdamW, IsTheReferenceOverManySteps) {
  const at::Tensor w = random_tensor(1, GetParam()), m = at::zeros_like(w), v = at::zeros_like(w);
  const at::Tensor w2 = w.clone(), m2 = m.clone(), v2 = v.clone();
  for (int64_t step = 1; step <= 20; ++step) {
    const at::Tensor g = random_tensor(100 + step, GetParam());
    const AdamWOptions options{
        .learning_rate = 0.01, .weight_decay = 0.1, .gradient_scale = 0.7, .step = step};
    adamw_(w, g, m, v, options);
    adamw_reference_(w2, g, m2, v2, options);
  }
  EXPECT_TRUE(w.allclose(w2, 1e-4, 1e-5));
  EXPECT_TRUE(m.allclose(m2, 1e-4, 1e-6));
  EXPECT_TRUE(v.allclose(v2, 1e-4, 1e-6));
}

INSTANTIATE_TEST_SUITE_P(Shapes, AdamW,
                         testing::Values(std::vector<int64_t>{0}, std::vector<int64_t>{1},
                                         std::vector<int64_t>{7, 3},
                                         std::vector<int64_t>{300, 301}),
                         [](const auto& shape) { return "case" + std::to_string(shape.index); });

TEST(AdamWArguments, AreChecked) {
  const at::Tensor x = at::zeros({2, 3});
  expect_error(ErrorKind::kUsage, "adamw_: expected a step of at least 1, got 0",
               [&] { adamw_(x, x.clone(), x.clone(), x.clone(), {.step = 0}); });
  expect_error(ErrorKind::kUsage, "expected float32", [&] {
    adamw_(x, at::zeros({2, 3}, at::kDouble), x.clone(), x.clone(), {});
  });
  expect_error(ErrorKind::kUsage, "expected shape", [&] {
    adamw_(x, at::zeros({3, 2}), x.clone(), x.clone(), {});
  });
  expect_error(ErrorKind::kUsage, "expected contiguous", [&] {
    adamw_(x, at::zeros({3, 2}).t(), x.clone(), x.clone(), {});
  });
}

}  // namespace
}  // namespace lexel::kernels
