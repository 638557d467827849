#include "autoregressive/parallel/pipeline_letters.h"

#include <gtest/gtest.h>
#include <map>
#include <set>

#include "tests/autoregressive/parallel/pipeline_cases.h"

namespace lexel::parallel {
namespace {

using namespace tests;

struct Case {
  PipelineSchedule schedule;
  Letters letters;
};

/// All schedules of four stages, with and without an encoder.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const ar::Config& config : {deep_parti(), deep_vim()}) {
    for (const auto& kind : {std::pair("gpipe", 1), {"1f1b", 1}, {"circular", 2}}) {
      for (const int64_t m : {1, 4, 6}) {
        const Plan plan = plan_of(config, 4, m, kind);
        const bool text = config.text_depth > 0;
        PipelineSchedule schedule =
            make_schedule(parse_schedule(plan.schedule), {4, m, plan.rounds});
        if (text) schedule = with_encoder(schedule);
        all.push_back({schedule, Letters(schedule, plan, text)});
      }
    }
  }
  return all;
}

TEST(PipelineLetters, WhatIsReadWasWrittenAtAnEarlierClock) {
  for (const Case& c : cases()) {
    std::map<Letter, int64_t> written;  // clock
    std::set<Letter> read;
    for (const PipelineAction& a : c.schedule.actions) {
      for (const Letter& letter : c.letters.written_by(a)) {
        EXPECT_EQ(letter.from, a.stage);
        EXPECT_TRUE(written.emplace(letter, a.clock).second);  // once
      }
    }
    for (const PipelineAction& a : c.schedule.actions) {
      for (const Letter& letter : c.letters.read_by(a)) {
        EXPECT_EQ(letter.to, a.stage);
        EXPECT_TRUE(read.insert(letter).second);
        ASSERT_TRUE(written.contains(letter));
        EXPECT_LT(written.at(letter), a.clock);
        EXPECT_EQ(c.letters.read_at(letter), a.clock);
      }
    }
    EXPECT_EQ(read.size(), written.size());
  }
}

TEST(PipelineLetters, SendersKnowTheirOrderAndPairsWhoMeets) {
  for (const Case& c : cases()) {
    std::map<std::pair<int64_t, int64_t>, std::vector<Letter>> by_way;
    for (const PipelineAction& a : c.schedule.actions)
      for (const Letter& letter : c.letters.written_by(a))
        if (letter.from != letter.to) by_way[{letter.from, letter.to}].push_back(letter);
    std::set<std::pair<int64_t, int64_t>> pairs;
    for (const auto& [way, letters] : by_way) {
      EXPECT_EQ(c.letters.sent(way.first, way.second), letters);
      pairs.insert(std::minmax(way.first, way.second));
    }
    const auto told = c.letters.pairs();
    EXPECT_EQ(told, (std::vector<std::pair<int64_t, int64_t>>(pairs.begin(), pairs.end())));
    EXPECT_TRUE(c.letters.sent(0, 0).empty());
  }
}

/// A transport without tags, as NCCL is: a rank's n-th receive from another gets the other's n-th send, and a send is done when it is
/// received. Ranks ask for letters as Mail does, one action ahead, and wait as Pipeline does. Nobody may wait for ever.
TEST(PipelineLetters, ATransportThatKnowsOrderAloneIsEnough) {
  for (const Case& c : cases()) {
    const int64_t ranks = c.schedule.shape.stages;
    std::vector<std::vector<PipelineAction>> of_rank(static_cast<size_t>(ranks));
    for (const PipelineAction& a : c.schedule.actions)
      if (c.letters.route(a.stack).has(a.chunk)) of_rank[static_cast<size_t>(a.stage)].push_back(a);
    std::map<std::pair<int64_t, int64_t>, size_t> asked, given;  // letters by way
    std::vector<size_t> done(static_cast<size_t>(ranks), 0);     // actions
    const auto ask = [&](int64_t rank, size_t action) {
      const auto& own = of_rank[static_cast<size_t>(rank)];
      if (action >= own.size()) return;
      for (const Letter& letter : c.letters.read_by(own[action])) {
        if (letter.from == rank) continue;
        const auto& order = c.letters.sent(letter.from, rank);
        const auto place = std::ranges::find(order, letter) - order.begin();
        size_t& count = asked[{letter.from, rank}];
        count = std::max(count, static_cast<size_t>(place) + 1);
      }
    };
    for (int64_t rank = 0; rank < ranks; ++rank) ask(rank, 0);
    for (bool moved = true; moved;) {
      moved = false;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const auto& own = of_rank[static_cast<size_t>(rank)];
        size_t& next = done[static_cast<size_t>(rank)];
        if (next >= own.size()) continue;
        ask(rank, next + 1);
        bool ready = true;
        for (const Letter& letter : c.letters.read_by(own[next])) {
          if (letter.from == rank) continue;
          const std::pair way(letter.from, rank);
          const auto& order = c.letters.sent(letter.from, rank);
          const auto place = static_cast<size_t>(std::ranges::find(order, letter) - order.begin());
          ready = ready && place < std::min(asked[way], given[way]);
        }
        if (!ready) continue;
        for (const Letter& letter : c.letters.written_by(own[next]))
          if (letter.to != rank) ++given[{rank, letter.to}];
        ++next;
        moved = true;
      }
    }
    for (int64_t rank = 0; rank < ranks; ++rank)
      EXPECT_EQ(done[static_cast<size_t>(rank)], of_rank[static_cast<size_t>(rank)].size());
    EXPECT_EQ(asked, given);  // all that was sent was asked for
  }
}

}  // namespace
}  // namespace lexel::parallel
