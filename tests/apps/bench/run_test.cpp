#include "apps/bench/run.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "apps/bench/ceilings.h"
#include "kernels/check.h"

namespace lexel::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A call that adds to `count`, and takes some microseconds for each of `size`.
std::function<void()> counted(int64_t& count, int64_t size) {
  const at::Tensor x = at::zeros({size * 10'000});
  return [&count, x] {
    ++count;
    x.add_(1);
  };
}

Case case_of(const std::string& name, const std::function<Runs()>& prepare) {
  return {"alpha", name, Ceiling::kLaunch, 0.0, prepare};
}

TEST(BenchRun, OursIsTimedBesideItsPeersAndTheFasterIsFaster) {
  at::set_num_threads(1);
  int64_t fast = 0, slow = 0, checks = 0;
  const Case one = case_of("one", [&] {
    return Runs{{"ours", counted(fast, 1)}, {{"theirs", counted(slow, 50)}}, [&] {
                  EXPECT_EQ(fast + slow, 0) << "timed before it was checked";
                  ++checks;
                  return std::string("equal");
                }};
  });
  const Report report = run_cases({one}, at::kCPU, 3, [](size_t) {});
  ASSERT_EQ(report.rows.size(), 1U);
  const Row& row = report.rows[0];
  EXPECT_EQ(row.error, "");
  EXPECT_EQ(row.checked, "equal");
  EXPECT_EQ(checks, 1);
  ASSERT_EQ(row.timings.size(), 2U);
  EXPECT_EQ(row.timings[0].name, "ours");
  EXPECT_EQ(row.timings[1].name, "theirs");
  EXPECT_GE(row.timings[1].samples, 3 * 4);
  EXPECT_GE(slow, row.timings[1].samples);
  EXPECT_GT(row.timings[0].seconds, 0.0);
  EXPECT_GT(row.timings[1].seconds, 3 * row.timings[0].seconds);
  EXPECT_EQ(first_failure(report), "");
}

TEST(BenchRun, WhatIsWrongIsNamedAndNotTimedAndTheRestGoesOn) {
  int64_t calls = 0, peers = 0;
  const auto runs = [&](const std::function<std::string()>& check) {
    return Runs{{"ours", counted(calls, 1)}, {}, check};
  };
  const Case wrong = case_of("wrong", [&] {
    return runs([]() -> std::string { fail(ErrorKind::kInternal, "off by 3\nsecond line"); });
  });
  const Case unprepared = case_of("unprepared", []() -> Runs { throw std::bad_alloc(); });
  const Case peerless = case_of("bad peer", [&] {
    Runs made = runs([] { return std::string("equal"); });
    made.peers = {{"broken", [] { fail(ErrorKind::kInternal, "no memory"); }},
                  {"good", counted(peers, 1)}};
    return made;
  });
  std::vector<size_t> begun;
  const Report report =
      run_cases({wrong, unprepared, peerless}, at::kCPU, 1, [&](size_t i) { begun.push_back(i); });
  EXPECT_THAT(begun, ElementsAre(0, 1, 2));
  ASSERT_EQ(report.rows.size(), 3U);
  EXPECT_EQ(report.rows[0].error, "off by 3");
  EXPECT_TRUE(report.rows[0].timings.empty());
  EXPECT_THAT(report.rows[1].error, HasSubstr("bad_alloc"));
  EXPECT_EQ(report.rows[2].error, "");  // a peer's failure is not ours
  ASSERT_EQ(report.rows[2].timings.size(), 3U);
  EXPECT_EQ(report.rows[2].timings[1].error, "no memory");
  EXPECT_GT(report.rows[2].timings[2].seconds, 0.0);
  EXPECT_GT(calls, 0);
  EXPECT_GT(peers, 0);
  EXPECT_EQ(first_failure(report), "alpha, wrong: off by 3");
}

TEST(BenchRun, CeilingsAreOfThisMachine) {
  at::set_num_threads(1);
  // Any machine of the last fifteen years, however busy; none of the next few.
  for (const Ceiling ceiling : {Ceiling::kFma, Ceiling::kRead}) {
    const double rate = measure_ceiling(ceiling, at::kCPU);
    EXPECT_GT(rate, 2e8);
    EXPECT_LT(rate, 2e12);
  }
  EXPECT_EQ(measure_ceiling(Ceiling::kLaunch, at::kCPU), 0.0);
}

}  // namespace
}  // namespace lexel::bench
