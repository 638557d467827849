#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <memory>

#include "autoregressive/parallel/mesh.h"
#include "autoregressive/parallel/timeline.h"
#include "autoregressive/parallel/update_sharding.h"
#include "tests/support/gpu.h"

// NCCL at world size 1: every collective goes through the library, though nothing has to travel.

namespace lexel::parallel {
namespace {

const at::Device kGpu(at::kCUDA, 0);

Group one_rank() {
  World world;
  world.timeout = std::chrono::seconds(30);
  return Group(world, "data", "data/0", {0}, kGpu);
}

TEST(NcclGroup, CollectivesOfOneRankGiveWhatWentIn) {
  if (!tests::kHasGpu) GTEST_SKIP() << "no GPU";
  Group group = one_rank();
  const at::Tensor x = at::arange(12, at::dtype(at::kFloat).device(kGpu)).view({4, 3});
  at::Tensor sum = x.clone();
  group.all_reduce(sum);
  EXPECT_TRUE(sum.equal(x));
  EXPECT_TRUE(group.all_gather(x, 1).equal(x));
  EXPECT_TRUE(group.reduce_scatter(x, 0).equal(x));
  EXPECT_TRUE(group.all_to_all(x).equal(x));
  at::Tensor told = x.clone();
  group.broadcast(told, 0);
  EXPECT_TRUE(told.equal(x));
  group.barrier();
  EXPECT_EQ(group.traffic().by_collective.at("all_reduce").calls, 1);
  EXPECT_EQ(group.traffic().bytes(), 12 * 4);  // of the broadcast
}

TEST(NcclGroup, WeightUpdateShardingOfOneRankLeavesTheGradient) {
  if (!tests::kHasGpu) GTEST_SKIP() << "no GPU";
  Group group = one_rank();
  const at::Tensor w = at::arange(1000, at::dtype(at::kFloat).device(kGpu)).requires_grad_();
  UpdateSharding sharding({w}, group, UpdateSharding::Cut::kAnywhere);
  sharding.zero_gradients();
  sharding.overlap_next_backward();
  (w * w).sum().backward();
  sharding.reduce();
  EXPECT_TRUE(sharding.gradient(0).allclose(w.detach() * 2.0));
}

TEST(NcclGroup, ALaunchersOneRankHasGroupsAlongItsAxes) {
  if (!tests::kHasGpu) GTEST_SKIP() << "no GPU";
  World world;
  world.launcher = "lexel launch";
  world.timeout = std::chrono::seconds(30);
  Mesh mesh(world, parse_mesh("data=1"), kGpu);
  EXPECT_EQ(mesh.device(), kGpu);
  EXPECT_FALSE(mesh.along("data").alone());
  at::Tensor x = at::full({3}, 2.0, at::dtype(at::kDouble).device(kGpu));
  mesh.everyone().all_reduce(x);
  EXPECT_EQ(x.sum().item<double>(), 6.0);
}

TEST(NcclGroup, TimelineHasTheTimesOfTheDevice) {
  if (!tests::kHasGpu) GTEST_SKIP() << "no GPU";
  Group group = one_rank();
  const at::Tensor w = at::ones({1 << 22}, at::dtype(at::kFloat).device(kGpu)).requires_grad_();
  const auto timeline = std::make_shared<Timeline>(kGpu, 0);
  UpdateSharding sharding({w}, group, UpdateSharding::Cut::kAnywhere);
  sharding.trace_to(timeline);
  sharding.zero_gradients();
  sharding.overlap_next_backward();
  {
    const Span span(timeline.get(), "backward", "backward");
    (w * w).sum().backward();
  }
  sharding.reduce();
  const std::vector<TraceEvent> events = timeline->events();
  ASSERT_EQ(events.size(), 2U);
  for (const TraceEvent& event : events) {
    EXPECT_GT(event.end_us, event.begin_us);
    EXPECT_LT(event.end_us - event.begin_us, 30e6);
  }
}

}  // namespace
}  // namespace lexel::parallel
