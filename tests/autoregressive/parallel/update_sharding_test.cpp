#include "autoregressive/parallel/update_sharding.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <map>
#include <mutex>

#include "tests/support/random_tensor.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using Cut = UpdateSharding::Cut;
using tests::on_mesh;

std::vector<at::Tensor> some_weights() {
  std::vector<at::Tensor> weights;
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{7, 5}, {3}, {11}, {4, 4}, {1}, {2, 3, 5}})
    weights.push_back(
        at::arange(at::zeros(shape).numel(), at::kDouble).view(shape).clone().requires_grad_());
  return weights;
}

/// sum_i c_i w_i^2 with a factor of the rank's own; the gradient is 2 c w.
at::Tensor loss_of(const std::vector<at::Tensor>& weights, double factor) {
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (size_t i = 0; i < weights.size(); ++i)
    loss = loss + (weights[i] * weights[i]).sum() * factor * static_cast<double>(i + 1);
  return loss;
}

TEST(UpdateSharding, EveryValueIsUpdatedByOneRank) {
  for (const Cut cut : {Cut::kAnywhere, Cut::kTensorsWhole}) {
    for (const int64_t bucket : {8, 64, 100000}) {
      std::mutex mutex;
      std::vector<at::Tensor> times;
      for (const at::Tensor& w : some_weights()) times.push_back(at::zeros({w.numel()}));
      on_mesh("data=3", [&](Mesh& mesh) {
        const std::vector<at::Tensor> weights = some_weights();
        const UpdateSharding sharding(weights, mesh.along("data"), cut, bucket);
        const std::lock_guard lock(mutex);
        for (const Slice& slice : sharding.slices()) {
          times[slice.tensor].narrow(0, slice.begin, slice.length).add_(1);
          if (cut == Cut::kTensorsWhole) EXPECT_EQ(slice.length, weights[slice.tensor].numel());
        }
      });
      for (const at::Tensor& t : times) EXPECT_TRUE(t.eq(1).all().item<bool>());
    }
  }
}

TEST(UpdateSharding, GradientsAreMeansAndNewWeightsReachAllRanks) {
  for (const Cut cut : {Cut::kAnywhere, Cut::kTensorsWhole}) {
    for (const bool overlap : {false, true}) {
      on_mesh("data=4", [&](Mesh& mesh) {
        Group& group = mesh.along("data");
        const std::vector<at::Tensor> weights = some_weights(), before = some_weights();
        UpdateSharding sharding(weights, group, cut, /*bucket_bytes=*/128);
        for (int pass = 0; pass < 2; ++pass) {  // the second starts from zero again
          sharding.zero_gradients();
          const double factor = static_cast<double>(group.rank() + 1);  // mean over ranks: 2.5
          loss_of(weights, 0.5 * factor).backward();  // two passes of a step add up
          if (overlap) sharding.overlap_next_backward();
          loss_of(weights, 0.5 * factor).backward();
          sharding.reduce();
          for (size_t i = 0; i < sharding.slices().size(); ++i) {
            const Slice& s = sharding.slices()[i];
            const at::Tensor expected =
                before[s.tensor].detach().flatten().narrow(0, s.begin, s.length) *
                (5.0 * static_cast<double>(s.tensor + 1));
            EXPECT_TRUE(sharding.gradient(i).flatten().allclose(expected, 1e-12, 1e-12));
            EXPECT_EQ(sharding.gradient(i).sizes(), sharding.weights(i).sizes());
          }
        }
        for (size_t i = 0; i < sharding.slices().size(); ++i)
          sharding.weights(i).sub_(sharding.gradient(i), 0.01);
        sharding.share_weights();
        for (size_t t = 0; t < weights.size(); ++t) {
          const double factor = 1.0 - 0.01 * 5.0 * static_cast<double>(t + 1);
          EXPECT_TRUE(weights[t].detach().allclose(before[t].detach() * factor, 1e-12, 1e-12));
        }
      });
    }
  }
}

TEST(UpdateSharding, SendsAsManyBytesAsAnAllReduceOfTheGradients) {
  on_mesh("data=4", [](Mesh& mesh) {
    Group& group = mesh.along("data");
    const std::vector<at::Tensor> weights{at::zeros({64, 16}, at::kFloat).requires_grad_(),
                                          at::zeros({64}, at::kFloat).requires_grad_()};
    UpdateSharding sharding(weights, group, Cut::kAnywhere);
    group.forget_traffic();
    sharding.zero_gradients();
    (weights[0].sum() + weights[1].sum()).backward();
    sharding.reduce();
    sharding.share_weights();
    const int64_t bytes = 4 * (64 * 16 + 64);
    EXPECT_EQ(group.traffic().bytes(), 2 * 3 * bytes / 4);
  });
}

TEST(UpdateSharding, ATensorWithoutGradientHasNone) {
  on_mesh("data=2", [](Mesh& mesh) {
    const std::vector<at::Tensor> weights = some_weights();
    UpdateSharding sharding(weights, mesh.along("data"), Cut::kTensorsWhole);
    sharding.zero_gradients();
    weights[0].sum().backward();
    sharding.reduce();
    for (size_t i = 0; i < sharding.slices().size(); ++i)
      EXPECT_EQ(sharding.gradient(i).defined(), sharding.slices()[i].tensor == 0);
  });
}

TEST(UpdateSharding, OneRankHasItsTensorsAsTheyAre) {
  Group alone;
  const std::vector<at::Tensor> weights = some_weights();
  UpdateSharding sharding(weights, alone, Cut::kAnywhere);
  sharding.zero_gradients();
  loss_of(weights, 1.0).backward();
  sharding.reduce();
  ASSERT_EQ(sharding.slices().size(), weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_EQ(sharding.weights(i).const_data_ptr(), weights[i].const_data_ptr());
    EXPECT_EQ(sharding.gradient(i).const_data_ptr(), weights[i].grad().const_data_ptr());
  }
}

}  // namespace
}  // namespace lexel::parallel
