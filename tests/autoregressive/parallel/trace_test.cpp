#include "autoregressive/parallel/trace.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::parallel {
namespace {

TEST(TraceTest, HoldsCompleteEventsFromTheFirstOn) {
  const tests::TemporaryFolder folder;
  const std::string path = (folder / "trace.json").string();
  write_chrome_trace(path, {{"forward \"0\"", "forward", 1, 2, 1500.5, 1700.5},
                            {"wait", "wait", 0, 0, 1000.5, 1500.0}});
  const auto bytes = read_file(path, 1 << 20);
  const auto json = nlohmann::json::parse(bytes.begin(), bytes.end());
  std::vector<nlohmann::json> complete;
  int named = 0;
  for (const auto& event : json.at("traceEvents")) {
    if (event.at("ph") == "X") complete.push_back(event);
    if (event.at("ph") == "M") ++named;
  }
  EXPECT_EQ(named, 2);  // ranks
  ASSERT_EQ(complete.size(), 2U);
  EXPECT_EQ(complete[0].at("name").get<std::string>(), "forward \"0\"");
  EXPECT_EQ(complete[0].at("cat").get<std::string>(), "forward");
  EXPECT_EQ(complete[0].at("pid").get<int64_t>(), 1);
  EXPECT_EQ(complete[0].at("tid").get<int64_t>(), 2);
  EXPECT_DOUBLE_EQ(complete[0].at("ts").get<double>(), 500.0);
  EXPECT_DOUBLE_EQ(complete[0].at("dur").get<double>(), 200.0);
  EXPECT_DOUBLE_EQ(complete[1].at("ts").get<double>(), 0.0);
}

TEST(TraceTest, NoEventsAreATimelineToo) {
  const tests::TemporaryFolder folder;
  const std::string path = (folder / "trace.json").string();
  write_chrome_trace(path, {});
  const auto bytes = read_file(path, 1 << 20);
  EXPECT_TRUE(nlohmann::json::parse(bytes.begin(), bytes.end()).at("traceEvents").empty());
}

TEST(TraceTest, AMissingFolderIsNamed) {
  const tests::TemporaryFolder folder;
  tests::expect_error(ErrorKind::kIo, "no-folder",
                      [&] { write_chrome_trace((folder / "no-folder/trace.json").string(), {}); });
}

TEST(TraceTest, TheClockRunsForward) {
  const double before = trace_clock_us();
  EXPECT_GE(trace_clock_us(), before);
}

}  // namespace
}  // namespace lexel::parallel
