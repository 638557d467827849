// `lexel bench`, the real program: one small case, its numbers as table and JSON, and what it refuses.

#include <algorithm>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::tests {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

ProgramResult bench(std::vector<std::string> options) {
  std::vector<std::string> command = {LEXEL_BIN_DIR "/lexel", "bench", "kernels"};
  command.insert(command.end(), options.begin(), options.end());
  return run_program(command);
}

TEST(Bench, ListsTheCasesWithoutRunningThem) {
  const ProgramResult result = bench({"--list"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const char* kernel : {"attention: ", "adamw: ", "adafactor: "}) {
    EXPECT_THAT(result.out, HasSubstr(kernel));
  }
  const ProgramResult one = bench({"--list", "--kernel", "adamw", "--kernel", "sampling"});
  EXPECT_THAT(one.out, HasSubstr("adamw: "));
  EXPECT_THAT(one.out, ::testing::Not(HasSubstr("attention: ")));
}

TEST(Bench, ListsTheCasesOfTheGenerator) {
  const auto generator = [](const std::string& option, const std::string& value) {
    return run_program({LEXEL_BIN_DIR "/lexel", "bench", "generator", "--list", option, value});
  };
  const ProgramResult result = generator("--threads", "2");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("generator: 1 picture of 256 tokens, guidance\n"));
  EXPECT_EQ(generator("--case", "no such case").exit_code, 2);
}

TEST(Bench, MeasuresACaseBesideItsPeers) {
  const TemporaryFolder folder;
  const std::string file = (folder / "numbers.json").string();
  const ProgramResult result = bench({"--kernel", "codebook_lookup", "--case", "1 x 8192 x 32,",
                                      "--rounds", "1", "--threads", "1", "--json", file});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, AllOf(HasSubstr("kernel"), HasSubstr("codebook_lookup"), HasSubstr(" x "),
                                HasSubstr("% of FMA")));
  const std::vector<uint8_t> bytes = read_file(file, 1 << 20);
  const json numbers = json::parse(bytes.begin(), bytes.end());
  EXPECT_EQ(numbers["device"], "cpu");
  EXPECT_EQ(numbers["machine"]["threads"], 1);
  EXPECT_GT(numbers["ceilings"]["FMA"], 1e8);
  ASSERT_EQ(numbers["rows"].size(), 1U);
  const json& row = numbers["rows"][0];
  EXPECT_EQ(row["kernel"], "codebook_lookup");
  EXPECT_NE(row["checked"], "");
  const double ours = row["ours"]["seconds"];
  EXPECT_GT(ours, 0.0);
  ASSERT_GE(row["peers"].size(), 1U);
  for (const json& peer : row["peers"]) {
    const double seconds = peer["seconds"];
    EXPECT_NEAR(peer["ratio"].get<double>(), seconds / ours, 1e-9 * seconds / ours);
  }
  EXPECT_NEAR(row["ceiling_used"].get<double>(),
              row["work"].get<double>() / ours / numbers["ceilings"]["FMA"].get<double>(), 1e-9);
}

TEST(Bench, JsonOnStdoutIsAllThatIsThere) {
  const ProgramResult result = bench({"--kernel", "codebook_lookup", "--case", "1 x 8192 x 32,",
                                      "--rounds", "1", "--threads", "1", "--json", "-"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(json::parse(result.out)["rows"].size(), 1U);
}

struct Refusal {
  const char* name;
  std::vector<std::string> options;
  int exit_code;
  const char* words;
};

class BenchRefuses : public ::testing::TestWithParam<Refusal> {};

TEST_P(BenchRefuses, InOneLine) {
  const ProgramResult result = bench(GetParam().options);
  EXPECT_EQ(result.exit_code, GetParam().exit_code) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_THAT(result.err, AllOf(StartsWith("lexel"), HasSubstr(GetParam().words)));
}

INSTANTIATE_TEST_SUITE_P(
    Options, BenchRefuses,
    ::testing::Values(Refusal{"UnknownKernel", {"--kernel", "adam"}, 2, "adam not in"},
                      Refusal{"UnknownCase", {"--case", "no such case"}, 2, "no such case"},
                      Refusal{"NoRounds", {"--rounds", "0"}, 2, "range"},
                      Refusal{"HalfANumber", {"--threads", "2x"}, 2, "2x"},
                      Refusal{"UnknownDevice", {"--device", "tpu"}, 2, "tpu"},
                      Refusal{"UnknownOption", {"--fast"}, 2, "--fast"},
                      Refusal{"NoFolder",
                              {"--kernel", "codebook_lookup", "--case", "1 x 8192 x 32,",
                               "--rounds", "1", "--quiet", "--json", "/nowhere/x.json"},
                              4,
                              "/nowhere"}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace lexel::tests
