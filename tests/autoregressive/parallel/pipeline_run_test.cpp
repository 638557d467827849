// What a pipeline did, against the formulas: order, bubble, live activations, bytes.
#include <mutex>

#include "tests/autoregressive/parallel/pipeline_cases.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using namespace tests;  // NOLINT: cases and ranks

/// What all ranks did under one plan.
struct Executed {
  Plan plan;
  PipelineSchedule schedule;
  std::vector<PipelineEvent> events;                    // of all ranks, each rank's in its order
  std::map<int64_t, LiveActivations> encoder, decoder;  // by rank
};

/// One training pass on four ranks under each schedule, with 1, 4 and 8 micro-batches.
std::vector<Executed> runs_of(const ar::Config& config) {
  std::vector<Executed> runs;
  for (const auto& schedule : schedules()) {
    for (const int64_t m : {1, 4, 8}) {
      for (const bool rematerialize : {false, true}) {
        runs.push_back({plan_of(config, 4, m, schedule), {}, {}, {}, {}});
        runs.back().plan.rematerialize = rematerialize;
      }
    }
  }
  std::mutex mutex;
  on_mesh("pipeline=4", [&](Mesh& mesh) {
    ar::Model model = ar::make_model(config, 1, at::kCPU);
    require_gradients(ar::parameters(model), true);
    Group& group = mesh.along("pipeline");
    for (Executed& run : runs) {
      const int64_t m = run.plan.micro_batches;
      Pipeline pipeline(group, config, run.plan);
      (void)pipeline.train(model, micro_batches(lesson(config, m), m, {}));
      const std::lock_guard lock(mutex);
      run.events.insert(run.events.end(), pipeline.events().begin(), pipeline.events().end());
      run.schedule = pipeline.schedule();
      run.encoder[group.rank()] = pipeline.live(Stack::kEncoder);
      run.decoder[group.rank()] = pipeline.live(Stack::kDecoder);
    }
  });
  return runs;
}

std::vector<PipelineAction> actions_of_rank(const std::vector<PipelineAction>& all, int64_t rank) {
  std::vector<PipelineAction> own;
  for (const PipelineAction& a : all) {
    if (a.stage == rank) own.push_back(a);
  }
  return own;
}

/// What an action needs had ended before it began: the chunk before, or the same chunk's forward.
void expect_in_time(const std::vector<PipelineEvent>& events) {
  std::map<std::tuple<Stack, bool, int64_t, int64_t>, double> ends;
  for (const PipelineEvent& e : events) {
    const PipelineAction& a = e.action;
    ends[{a.stack, a.backward, a.micro_batch, a.chunk}] = e.end.us;
    EXPECT_LE(e.wait.us, e.begin.us);
    EXPECT_LE(e.begin.us, e.end.us);
  }
  for (const PipelineEvent& e : events) {
    const PipelineAction& a = e.action;
    if (!a.backward && a.chunk > 0) {
      EXPECT_GE(e.begin.us, ends.at({a.stack, false, a.micro_batch, a.chunk - 1}));
    }
    if (a.backward) {
      EXPECT_GE(e.begin.us, ends.at({a.stack, false, a.micro_batch, a.chunk}));
    }
  }
}

TEST(PipelineRunTest, WhatIsExecutedIsTheScheduleWithItsBubble) {
  for (const ar::Config& config : {deep_parti(), deep_vim()}) {
    for (const Executed& run : runs_of(config)) {
      SCOPED_TRACE(describe(run.plan));
      expect_in_time(run.events);
      std::vector<PipelineAction> actions;
      for (const PipelineEvent& e : run.events) actions.push_back(e.action);
      for (int64_t rank = 0; rank < 4; ++rank) {
        EXPECT_EQ(actions_of_rank(actions, rank), actions_of_rank(run.schedule.actions, rank));
      }
      std::erase_if(actions, [](const auto& a) { return a.stack == Stack::kEncoder; });
      EXPECT_NEAR(counted_bubble(actions, 4),
                  bubble_by_formula(parse_schedule(run.plan.schedule),
                                    {4, run.plan.micro_batches, run.plan.rounds}),
                  1e-12);
    }
  }
}

TEST(PipelineRunTest, LiveActivationsAreThoseOfTheFormula) {
  for (const ar::Config& config : {deep_parti(), deep_vim()}) {
    for (const Executed& run : runs_of(config)) {
      SCOPED_TRACE(describe(run.plan));
      const int64_t m = run.plan.micro_batches;
      for (int64_t rank = 0; rank < 4; ++rank) {
        const int64_t peak =
            peak_by_formula(parse_schedule(run.plan.schedule), {4, m, run.plan.rounds}, rank);
        const LiveActivations decoder = run.decoder.at(rank), encoder = run.encoder.at(rank);
        EXPECT_EQ(decoder.pairs, peak);
        EXPECT_EQ(encoder.pairs, config.text_depth > 0 ? m : 0);
        // Rematerialised, one of them at a time has all of its activations.
        EXPECT_EQ(decoder.graphs, run.plan.rematerialize ? 1 : peak);
        EXPECT_EQ(encoder.graphs,
                  run.plan.rematerialize ? std::min<int64_t>(1, encoder.pairs) : encoder.pairs);
      }
    }
  }
}

// Streams forward and gradients back over each border of chunks on two ranks, texts and their gradients to and from each rank
// that did not encode them, and the losses.
TEST(PipelineRunTest, BytesSentAreThoseOfTheFormula) {
  const int64_t m = 4, rows = 2, ranks = 4, places = 30;
  on_mesh("pipeline=4", [&](Mesh& mesh) {
    Group& group = mesh.along("pipeline");
    const int64_t first = group.rank() == 0 ? 1 : 0, last = group.rank() == ranks - 1 ? 1 : 0;
    for (const ar::Config& config : {deep_parti(), deep_vim()}) {
      for (const at::ScalarType compute : {at::kFloat, at::kBFloat16, at::kDouble}) {
        ar::Model model =
            compute == at::kDouble ? fresh_double(config) : ar::make_model(config, 1, at::kCPU);
        require_gradients(ar::parameters(model), true);
        const int64_t stream = compute == at::kDouble ? 8 : 4;
        const int64_t text = compute == at::kBFloat16 ? 2 : stream;
        const auto parts = micro_batches(lesson(config, m * rows), m, {.compute = compute});
        const int64_t pieces = config.text_depth == 0 ? 0 : parts[0].options.text_tokens;
        for (const auto& schedule : schedules()) {
          const Plan plan = plan_of(config, ranks, m, schedule);
          Pipeline pipeline(group, config, plan);
          group.forget_traffic();
          (void)pipeline.train(model, parts);
          const int64_t vectors = m * rows * config.width;  // of one place in all micro-batches
          int64_t bytes = (2 * plan.rounds - first - last) * vectors * places * stream;
          if (pieces > 0) {
            bytes += (2 - first - last) * vectors * pieces * stream;
            bytes += (last == 1 ? ranks - 1 : 1) * vectors * pieces * text;
          }
          EXPECT_EQ(group.traffic().by_collective.at("send").bytes, bytes)
              << describe(plan) << " rank " << group.rank();
          EXPECT_EQ(group.traffic().bytes(), bytes + last * m * stream);
        }
      }
    }
  });
}

}  // namespace
}  // namespace lexel::parallel
