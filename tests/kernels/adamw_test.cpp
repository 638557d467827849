#include "kernels/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "tests/support/every_path.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::on_every_path;
using tests::on_every_target;
using tests::random_tensor;
using Shape = std::vector<int64_t>;

TEST(AdamWReference, OneStepByHand) {
  const at::Tensor w = at::tensor({1.0f}), m = at::zeros({1}), v = at::zeros({1});
  adamw_reference_(w, at::tensor({0.5f}), m, v,
                   {.learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.2});
  EXPECT_NEAR(m.item<float>(), 0.05, 1e-7);
  EXPECT_NEAR(v.item<float>(), 0.0025, 1e-8);
  // m / (1 - 0.9) = 0.5 and sqrt(v / (1 - 0.99)) = 0.5: a step of the rate; decay 1 - 0.1 * 0.2.
  EXPECT_NEAR(w.item<float>(), 0.98 - 0.1, 1e-6);
}

/// Ten steps of all tensors at once, in float32 by adamw_ and in float64 steps by the reference.
void expect_reference(const std::vector<Shape>& shapes, at::Device device) {
  std::vector<AdamWUpdate> ours, wanted;
  for (const Shape& shape : shapes) {
    const at::Tensor w = random_tensor(ours.size() + 1, shape).to(device);
    ours.push_back({w, {}, at::zeros_like(w), at::zeros_like(w), {}});
    wanted.push_back({w.clone(), {}, at::zeros_like(w), at::zeros_like(w), {}});
  }
  for (int64_t step = 1; step <= 10; ++step) {
    for (size_t i = 0; i < shapes.size(); ++i) {
      ours[i].gradient = random_tensor(100 * i + static_cast<uint64_t>(step), shapes[i]).to(device);
      ours[i].options = {.learning_rate = 0.01 * static_cast<double>(i + 1),
                         .weight_decay = i % 2 == 0 ? 0.1 : 0.0,
                         .gradient_scale = 0.7,
                         .step = step};
      adamw_reference_(wanted[i].weights, ours[i].gradient, wanted[i].first_moment,
                       wanted[i].second_moment, ours[i].options);
    }
    adamw_(ours);
  }
  // Each step rounds a few times by 2^-24 of weights of about 1: 10 steps stay below 10 x 5 x 6e-8.
  for (size_t i = 0; i < shapes.size(); ++i) {
    EXPECT_TRUE(ours[i].weights.allclose(wanted[i].weights, 6e-6, 6e-6)) << "tensor " << i;
    EXPECT_TRUE(ours[i].first_moment.allclose(wanted[i].first_moment, 6e-6, 6e-6)) << i;
    EXPECT_TRUE(ours[i].second_moment.allclose(wanted[i].second_moment, 6e-6, 6e-6)) << i;
  }
}

const std::vector<Shape> kShapes{{0}, {1}, {7, 3}, {130, 501}, {}, {17}, {40, 2, 33}};

TEST(AdamW, IsTheReferenceOverManyStepsAndTensors) {
  on_every_path([](at::Device device) {
    expect_reference(kShapes, device);
    for (const Shape& shape : kShapes) expect_reference({shape}, device);
  });
}

TEST(AdamW, ThreadsAndNeighboursDoNotChangeBits) {
  const auto run = [](bool together, int threads) {
    at::set_num_threads(threads);
    std::vector<AdamWUpdate> updates;
    for (const Shape& shape : kShapes) {
      const at::Tensor w = random_tensor(updates.size() + 1, shape);
      updates.push_back(
          {w, random_tensor(9, shape), random_tensor(8, shape), random_tensor(7, shape).abs(), {}});
    }
    if (together) {
      adamw_(updates);
    } else {
      for (const AdamWUpdate& u : updates) {
        adamw_(u.weights, u.gradient, u.first_moment, u.second_moment, u.options);
      }
    }
    return updates;
  };
  on_every_target([&] {
    const auto one = run(true, 1), three = run(true, 3), apart = run(false, 2);
    for (size_t i = 0; i < one.size(); ++i) {
      EXPECT_TRUE(at::equal(one[i].weights, three[i].weights)) << i;
      EXPECT_TRUE(at::equal(one[i].weights, apart[i].weights)) << i;
      EXPECT_TRUE(at::equal(one[i].second_moment, three[i].second_moment)) << i;
    }
  });
  at::set_num_threads(1);
}

TEST(AdamW, ManyTensorsTakeSeveralLaunches) {
  on_every_path([](at::Device device) {
    std::vector<AdamWUpdate> updates;
    for (uint64_t i = 0; i < 100;
         ++i) {  // with an empty one, and one that is not aligned to 16 bytes
      const at::Tensor w = at::zeros({static_cast<int64_t>(i % 7) + 5000 * (i == 50)}, device);
      const at::Tensor slice = i % 3 == 0 && w.numel() > 0 ? w.narrow(0, 1, w.numel() - 1) : w;
      updates.push_back({slice,
                         at::ones_like(slice),
                         at::zeros_like(slice),
                         at::zeros_like(slice),
                         {.learning_rate = 0.5}});
    }
    adamw_(updates);
    for (const AdamWUpdate& u : updates) {
      EXPECT_TRUE(u.weights.allclose(at::full_like(u.weights, -0.5), 1e-6));
    }
  });
}

TEST(AdamW, AGradientThatIsNotFiniteSpoilsItsOwnWeightOnly) {
  on_every_path([](at::Device device) {
    const at::Tensor w = at::zeros({3}, device), m = at::zeros({3}, device);
    const at::Tensor v = at::zeros({3}, device);
    adamw_(w, at::tensor({1.0f, NAN, 1.0f}).to(device), m, v, {});
    EXPECT_TRUE(std::isnan(w[1].item<float>()));
    EXPECT_EQ(w.isfinite().sum().item<int64_t>(), 2);
  });
}

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
  expect_error(ErrorKind::kUsage, "undefined", [&] { adamw_(x, {}, x.clone(), x.clone(), {}); });
  expect_error(ErrorKind::kUsage, "expected a CPU or CUDA tensor", [] {
    const at::Tensor none = at::empty({2}, at::Device(at::kMeta));
    adamw_(none, none, none, none, {});
  });
}

}  // namespace
}  // namespace lexel::kernels
