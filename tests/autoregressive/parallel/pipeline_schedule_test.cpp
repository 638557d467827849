#include "autoregressive/parallel/pipeline_schedule.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <tuple>

#include "tests/support/expect_error.h"

namespace lexel::parallel {
namespace {

using Key = std::tuple<Stack, bool, int64_t, int64_t>;  // stack, backward, micro-batch, chunk

Key key(const PipelineAction& a) { return {a.stack, a.backward, a.micro_batch, a.chunk}; }

/// What must be done before an action can begin, apart from what its own stage does before.
std::vector<Key> needs(const PipelineAction& a, const PipelineSchedule& schedule, bool encoder) {
  const int64_t m = a.micro_batch, stages = schedule.shape.stages, chunks = schedule.chunks();
  const int64_t last = (a.stack == Stack::kEncoder ? stages : chunks) - 1;
  std::vector<Key> needed;
  if (!a.backward) {
    if (a.chunk > 0) needed.push_back({a.stack, false, m, a.chunk - 1});
    if (encoder && a.stack == Stack::kDecoder) {
      needed.push_back({Stack::kEncoder, false, m, stages - 1});
    }
  } else {
    needed.push_back({a.stack, false, m, a.chunk});
    if (a.chunk < last) needed.push_back({a.stack, true, m, a.chunk + 1});
    if (a.stack == Stack::kEncoder && a.chunk == last) {
      for (int64_t c = 0; c < chunks; ++c) needed.push_back({Stack::kDecoder, true, m, c});
    }
  }
  return needed;
}

/// Every stage does its actions in their order, each as soon as it can: the clock of each. Fails where nobody can go on.
std::map<Key, int64_t> simulate(const PipelineSchedule& schedule, bool encoder) {
  std::vector<std::vector<PipelineAction>> todo(static_cast<size_t>(schedule.shape.stages));
  for (const PipelineAction& a : schedule.actions) todo[size_t(a.stage)].push_back(a);
  std::vector<size_t> next(todo.size(), 0);
  std::map<Key, int64_t> done;
  for (int64_t clock = 0; done.size() < schedule.actions.size(); ++clock) {
    std::vector<Key> now;
    for (size_t s = 0; s < todo.size(); ++s) {
      if (next[s] == todo[s].size()) continue;
      const auto needed = needs(todo[s][next[s]], schedule, encoder);
      if (std::ranges::all_of(needed, [&](const Key& k) { return done.contains(k); })) {
        now.push_back(key(todo[s][next[s]++]));
      }
    }
    for (const Key& k : now) done[k] = clock;
    if (clock > 4 * int64_t(schedule.actions.size())) {
      ADD_FAILURE() << "nobody can go on";
      break;
    }
  }
  return done;
}

/// Every (micro-batch, chunk) once forward and once backward, in the right order, no stage twice at a clock.
void expect_sound(const PipelineSchedule& schedule, bool encoder) {
  std::map<Key, int64_t> clocks;
  std::map<std::pair<int64_t, int64_t>, int> used;
  for (const PipelineAction& a : schedule.actions) {
    EXPECT_TRUE(clocks.emplace(key(a), a.clock).second);
    EXPECT_EQ(++used[std::pair(a.clock, a.stage)], 1);
    EXPECT_EQ(a.stage, a.chunk % schedule.shape.stages);
    EXPECT_GE(a.clock, 0);
  }
  const int64_t chunks = schedule.chunks() + (encoder ? schedule.shape.stages : 0);
  EXPECT_EQ(int64_t(clocks.size()), 2 * schedule.shape.micro_batches * chunks);
  for (const PipelineAction& a : schedule.actions) {
    for (const Key& k : needs(a, schedule, encoder)) {
      ASSERT_TRUE(clocks.contains(k));
      EXPECT_LT(clocks.at(k), a.clock);
    }
  }
}

struct Case {
  ScheduleKind kind;
  PipelineShape shape;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int64_t stages : {1, 2, 3, 4, 7, 16}) {
    for (const int64_t micro_batches : {1, 2, 3, 4, 5, 8, 16, 21, 32}) {
      all.push_back({ScheduleKind::kGpipe, {stages, micro_batches, 1}});
      all.push_back({ScheduleKind::kOneForwardOneBackward, {stages, micro_batches, 1}});
      for (const int64_t rounds : {1, 2, 4}) {
        all.push_back({ScheduleKind::kCircular, {stages, micro_batches, rounds}});
      }
    }
  }
  return all;
}

std::string describe(const Case& c) {
  return to_text(c.kind) + " S=" + std::to_string(c.shape.stages) +
         " M=" + std::to_string(c.shape.micro_batches) + " R=" + std::to_string(c.shape.rounds);
}

TEST(PipelineScheduleTest, EveryActionComesOnceAndAfterWhatItNeeds) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(describe(c));
    expect_sound(make_schedule(c.kind, c.shape), false);
  }
}

TEST(PipelineScheduleTest, BubbleAndPeakAreThoseOfTheFormulas) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(describe(c));
    const PipelineSchedule schedule = make_schedule(c.kind, c.shape);
    EXPECT_NEAR(counted_bubble(schedule.actions, c.shape.stages),
                bubble_by_formula(c.kind, c.shape), 1e-12);
    for (int64_t s = 0; s < c.shape.stages; ++s) {
      EXPECT_EQ(counted_peak(schedule.actions, Stack::kDecoder, s),
                peak_by_formula(c.kind, c.shape, s));
    }
  }
}

TEST(PipelineScheduleTest, NoStageCouldBeginEarlier) {
  for (const Case& c : cases()) {
    // A circular schedule leaves places for the micro-batches that a last segment lacks.
    if (c.kind == ScheduleKind::kCircular && c.shape.micro_batches % c.shape.stages != 0) continue;
    SCOPED_TRACE(describe(c));
    const PipelineSchedule schedule = make_schedule(c.kind, c.shape);
    int64_t last = 0;
    for (const auto& [k, clock] : simulate(schedule, false)) last = std::max(last, clock);
    EXPECT_EQ(last + 1, schedule.clocks());
    if (c.kind != ScheduleKind::kOneForwardOneBackward) continue;
    const auto simulated = simulate(schedule, false);
    for (const PipelineAction& a : schedule.actions) EXPECT_EQ(simulated.at(key(a)), a.clock);
  }
}

TEST(PipelineScheduleTest, TheCircularFormulaTellsWhatEachStageDoesAtEachClock) {
  for (const Case& c : cases()) {
    if (c.kind != ScheduleKind::kCircular) continue;
    SCOPED_TRACE(describe(c));
    const auto [stages, micro_batches, rounds] = c.shape;
    const PipelineSchedule schedule = make_schedule(c.kind, c.shape);
    std::map<std::pair<int64_t, int64_t>, PipelineAction> at;
    for (const PipelineAction& a : schedule.actions) {
      if (!a.backward) at[std::pair(a.clock, a.stage)] = a;
    }
    size_t found = 0;
    for (int64_t clock = 0; clock < schedule.clocks() / 2; ++clock) {
      for (int64_t s = 0; s < stages; ++s) {
        const int64_t u = clock - s;
        const int64_t round = u / stages % rounds;
        const int64_t m = u / (rounds * stages) * stages + u % stages;
        if (u < 0 || m >= micro_batches) {
          EXPECT_FALSE(at.contains(std::pair(clock, s)));
          continue;
        }
        ASSERT_TRUE(at.contains(std::pair(clock, s))) << clock << " " << s;
        const PipelineAction& a = at.at(std::pair(clock, s));
        EXPECT_EQ(a.micro_batch, m);
        EXPECT_EQ(a.chunk, round * stages + s);
        ++found;
      }
    }
    EXPECT_EQ(found, at.size());
  }
}

TEST(PipelineScheduleTest, BackwardIsTheMirrorOfForward) {
  for (const ScheduleKind kind : {ScheduleKind::kGpipe, ScheduleKind::kCircular}) {
    const PipelineSchedule schedule =
        make_schedule(kind, {4, 6, kind == ScheduleKind::kGpipe ? 1 : 3});
    std::map<Key, int64_t> clocks;
    for (const PipelineAction& a : schedule.actions) clocks[key(a)] = a.clock;
    for (const PipelineAction& a : schedule.actions) {
      if (a.backward) continue;
      EXPECT_EQ(a.clock + clocks.at({a.stack, true, a.micro_batch, a.chunk}),
                schedule.clocks() - 1);
    }
  }
}

TEST(PipelineScheduleTest, PartisSixteenStages) {
  // 48.4 % of the time is lost with one round, 19.0 % with four.
  const PipelineShape one{16, 16, 1}, four{16, 16, 4};
  for (const auto& [shape, percent] : {std::pair(one, 48.4), std::pair(four, 19.0)}) {
    const auto schedule = make_schedule(ScheduleKind::kCircular, shape);
    EXPECT_NEAR(100.0 * counted_bubble(schedule.actions, 16), percent, 0.05);
    EXPECT_NEAR(100.0 * bubble_by_formula(ScheduleKind::kCircular, shape), percent, 0.05);
    EXPECT_EQ(schedule.clocks(), 2 * (shape.rounds * 16 + 15));
  }
}

TEST(PipelineScheduleTest, OneRoundAroundIsGpipe) {
  for (const int64_t stages : {1, 2, 4}) {
    for (const int64_t micro_batches : {1, 3, 8}) {
      EXPECT_EQ(make_schedule(ScheduleKind::kCircular, {stages, micro_batches, 1}).actions,
                make_schedule(ScheduleKind::kGpipe, {stages, micro_batches, 1}).actions);
    }
  }
}

TEST(PipelineScheduleTest, AnEncoderComesBeforeAndAfterTheDecoder) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(describe(c));
    const PipelineSchedule decoder = make_schedule(c.kind, c.shape);
    const PipelineSchedule both = with_encoder(decoder);
    expect_sound(both, true);
    const auto [stages, micro_batches, rounds] = c.shape;
    // The decoder's part is the same but for its start.
    std::optional<int64_t> start;
    size_t i = 0;
    for (PipelineAction a : both.actions) {
      if (a.stack == Stack::kEncoder) continue;
      if (!start) start = a.clock;
      a.clock -= *start;
      EXPECT_EQ(a, decoder.actions[i++]);
    }
    EXPECT_EQ(*start, std::max(stages, micro_batches));
    for (int64_t s = 0; s < stages; ++s) {
      EXPECT_EQ(counted_peak(both.actions, Stack::kEncoder, s), micro_batches);
      // Each stage: encoder forward, all of the decoder, encoder backward.
      int part = 0;
      for (const PipelineAction& a : both.actions) {
        if (a.stage != s) continue;
        const int now = a.stack == Stack::kDecoder ? 1 : a.backward ? 2 : 0;
        EXPECT_GE(now, part);
        part = now;
      }
    }
    EXPECT_LE(both.clocks(), decoder.clocks() + 2 * (micro_batches + stages - 1));
  }
}

TEST(PipelineScheduleTest, NamesAndBadShapes) {
  for (const char* const name : {"gpipe", "1f1b", "circular"}) {
    EXPECT_EQ(to_text(parse_schedule(name)), name);
  }
  tests::expect_error(ErrorKind::kUsage, "gpipe, 1f1b or circular, got 'pipedream'",
                      [] { (void)parse_schedule("pipedream"); });
  const auto error = [](ScheduleKind kind, PipelineShape shape, const char* what) {
    tests::expect_error(ErrorKind::kUsage, what, [&] { (void)make_schedule(kind, shape); });
    tests::expect_error(ErrorKind::kUsage, what, [&] { (void)bubble_by_formula(kind, shape); });
  };
  error(ScheduleKind::kGpipe, {0, 1, 1}, "at least 1 stage, got 0");
  error(ScheduleKind::kGpipe, {1, 0, 1}, "at least 1 micro-batch, got 0");
  error(ScheduleKind::kCircular, {1, 1, 0}, "at least 1 round, got 0");
  error(ScheduleKind::kOneForwardOneBackward, {2, 2, 2}, "1 round of schedule '1f1b', got 2");
  tests::expect_error(ErrorKind::kUsage, "a stage in 0 to 1, got 2", [] {
    (void)peak_by_formula(ScheduleKind::kGpipe, {2, 2, 1}, 2);
  });
}

}  // namespace
}  // namespace lexel::parallel
