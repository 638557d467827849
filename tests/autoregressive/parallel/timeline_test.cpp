#include "autoregressive/parallel/timeline.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <set>
#include <thread>

#include "autoregressive/parallel/update_sharding.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

TEST(Timeline, HoldsWhatLastedHowLong) {
  Timeline timeline(at::kCPU, 3);
  const double before = trace_clock_us();
  {
    const Span outer(&timeline, "outer", "work");
    const Span inner(&timeline, "inner", "work");
    const Span nowhere(nullptr, "nowhere", "work");
  }
  const std::vector<TraceEvent> events = timeline.events();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].name, "inner");
  EXPECT_EQ(events[1].rank, 3);
  EXPECT_LE(before, events[1].begin_us);
  EXPECT_LE(events[1].begin_us, events[0].begin_us);
  EXPECT_LE(events[0].end_us, events[1].end_us);
  timeline.clear();
  EXPECT_TRUE(timeline.events().empty());
}

TEST(Timeline, ShowsGradientsThatTravelWhileTheBackwardPassRuns) {
  tests::on_mesh("data=2", [](Mesh& mesh) {
    std::vector<at::Tensor> weights;
    for (int i = 0; i < 3; ++i)
      weights.push_back(at::full({64}, 1.0 + i, at::kDouble).requires_grad_());
    const auto timeline = std::make_shared<Timeline>(at::kCPU, mesh.world().rank);
    UpdateSharding sharding(weights, mesh.along("data"), UpdateSharding::Cut::kAnywhere,
                            /*bucket_bytes=*/64);
    sharding.trace_to(timeline);
    sharding.zero_gradients();
    sharding.overlap_next_backward();
    {
      const Span span(timeline.get(), "backward", "backward");
      (weights[0] * weights[1] * weights[2]).sum().backward();
    }
    sharding.reduce();
    sharding.share_weights();
    std::vector<TraceEvent> events;
    while ((events = timeline->events()).size() < 7) std::this_thread::yield();  // told by threads
    double backward_end = 0.0;
    std::set<std::string> names;
    for (const TraceEvent& event : events) {
      names.insert(event.name);
      EXPECT_LE(event.begin_us, event.end_us);
      EXPECT_EQ(event.lane, event.name == "backward" ? 0 : 1);
      if (event.name == "backward") backward_end = event.end_us;
    }
    EXPECT_EQ(names, (std::set<std::string>{"backward", "reduce-scatter bucket 0",
                                            "reduce-scatter bucket 1", "reduce-scatter bucket 2",
                                            "all-gather bucket 0", "all-gather bucket 1",
                                            "all-gather bucket 2"}));
    for (const TraceEvent& event : events) {
      if (event.category == "reduce-scatter") EXPECT_LT(event.begin_us, backward_end);
      if (event.category == "all-gather") EXPECT_GE(event.begin_us, backward_end);
    }
  });
}

}  // namespace
}  // namespace lexel::parallel
