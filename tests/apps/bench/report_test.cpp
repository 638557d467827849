#include "apps/bench/report.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

namespace lexel::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Report made_up() {
  Report report;
  report.machine.cpu = "Some CPU";
  report.machine.cores = 4;
  report.machine.threads = 2;
  report.machine.in_use.vectors = "AVX2";
  report.device = "cpu";
  report.date = "2026-01-31";
  report.ceilings = {{Ceiling::kRead, 2e10}, {Ceiling::kLaunch, 0.0}};
  Row good;
  good.kernel = "alpha";
  good.name = "big";
  good.ceiling = Ceiling::kRead;
  good.work = 3e7;
  good.checked = "ids equal";
  good.timings = {{"Lexel", 2e-3, 20, false, ""},
                  {"one", 5e-3, 20, false, ""},
                  {"two", 0.0, 0, false, "no memory"}};
  Row wrong;
  wrong.kernel = "beta";
  wrong.name = "small";
  wrong.error = "off by 3 | \"x\"";
  Row alone;
  alone.kernel = "gamma";
  alone.name = "tiny";
  alone.timings = {{"Lexel", 1.234e-5, 20, false, ""}};
  report.rows = {good, wrong, alone};
  return report;
}

TEST(BenchReport, MarkdownHasALineForEachPeer) {
  const std::string text = as_markdown(made_up());
  EXPECT_THAT(text, HasSubstr("Some CPU, 2 of 4 cores, AVX2, 2026-01-31; wall time, best sample.\n"
                              "Ceilings measured: read 20.0 GB/s.\n"));
  EXPECT_THAT(
      text,
      HasSubstr("\n| kernel | case | ours | peer | its time | ratio | ceiling used |\n"
                "|---|---|---:|---|---:|---:|---|\n"
                "| `alpha` | big | 2.00 ms | one | 5.00 ms | 2.50 x | 75 % of read (15.0 GB/s) |\n"
                "| | | | two | failed: no memory | | |\n"));
  EXPECT_THAT(text, HasSubstr("| `beta` | small | FAILED | off by 3 "));
  EXPECT_THAT(text, HasSubstr("| `gamma` | tiny | 12.3 us | | | | - |\n"));
}

TEST(BenchReport, TextIsInColumns) {
  const std::string text = as_text(made_up());
  EXPECT_THAT(
      text,
      HasSubstr(
          "\nkernel  case      ours  peer           its time   ratio  ceiling used\n"
          "alpha   big    2.00 ms  one             5.00 ms  2.50 x  75 % of read (15.0 GB/s)\n"));
  EXPECT_THAT(text, Not(HasSubstr(" \n")));  // nothing trails
}

TEST(BenchReport, JsonHasEveryNumber) {
  const auto json = nlohmann::json::parse(as_json(made_up()));
  EXPECT_EQ(json["ceilings"]["read"], 2e10);
  ASSERT_EQ(json["rows"].size(), 3U);
  EXPECT_EQ(json["rows"][0]["ours"]["seconds"], 2e-3);
  EXPECT_DOUBLE_EQ(json["rows"][0]["ceiling_used"], 0.75);
  EXPECT_DOUBLE_EQ(json["rows"][0]["peers"][0]["ratio"], 2.5);
  EXPECT_EQ(json["rows"][0]["peers"][1]["error"], "no memory");
  EXPECT_EQ(json["rows"][1]["error"], "off by 3 | \"x\"");
  EXPECT_FALSE(json["rows"][1].contains("ours"));
  EXPECT_EQ(json["rows"][2]["peers"].size(), 0U);
}

TEST(BenchReport, OnCudaTheGpuIsNamed) {
  Report report = made_up();
  report.device = "cuda:0";
  report.gpu.name = "Made-up GPU 3";
  report.gpu.capability = 90;
  report.gpu.memory_bytes = int64_t{80} << 30;
  report.gpu.driver = 13010;
  report.gpu.runtime = 13000;
  EXPECT_THAT(as_text(report),
              HasSubstr("Made-up GPU 3 (sm_90, 80.0 GB), CUDA 13.0 (driver 13.1), 2026-01-31; "));
  EXPECT_EQ(nlohmann::json::parse(as_json(report))["gpu"]["name"], "Made-up GPU 3");
}

TEST(BenchReport, SecondsHaveThreeDigits) {
  EXPECT_EQ(format_seconds(1.5), "1.50 s");
  EXPECT_EQ(format_seconds(0.0123), "12.3 ms");
  EXPECT_EQ(format_seconds(123.4e-6), "123 us");
  EXPECT_EQ(format_seconds(5e-9), "5.00 ns");
}

}  // namespace
}  // namespace lexel::bench
