#include <chrono>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

#include "tests/support/run_program.h"

namespace lexel {
namespace {

using testing::HasSubstr;
using tests::ProgramResult;

ProgramResult launch(std::vector<std::string> options, const std::string& script) {
  std::vector<std::string> arguments{LEXEL_BIN_DIR "/lexel", "launch"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.insert(arguments.end(), {"--", "/bin/sh", "-c", script});
  return tests::run_program(arguments);
}

double seconds_of(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST(Launch, EachRankHasItsPlaceInTheEnvironment) {
  const ProgramResult result =
      launch({"-n", "3"}, "echo $RANK/$LOCAL_RANK of $WORLD_SIZE at $MASTER_ADDR");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  for (const char* line :
       {"0/0 of 3 at 127.0.0.1\n", "1/1 of 3 at 127.0.0.1\n", "2/2 of 3 at 127.0.0.1\n"})
    EXPECT_THAT(result.out, HasSubstr(line));
}

TEST(Launch, ARankThatFailsEndsTheOthersAndIsNamed) {
  ProgramResult result;
  const double took = seconds_of([&] {
    result =
        launch({"-n", "3", "--grace", "0.2"}, "if [ $RANK = 1 ]; then exit 3; fi; exec sleep 60");
  });
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.err, "lexel launch: rank 1 ended with code 3; ending the others\n");
  EXPECT_LT(took, 20.0);
}

TEST(Launch, ARankThatIsKilledIsNamedWithTheSignal) {
  const ProgramResult result =
      launch({"-n", "2", "--grace", "0.2"}, "if [ $RANK = 0 ]; then kill -9 $$; fi; exec sleep 60");
  EXPECT_EQ(result.exit_code, 137);
  EXPECT_EQ(result.err,
            "lexel launch: rank 0 was killed by signal 9 (Killed); ending the others\n");
}

TEST(Launch, ARankThatIgnoresTheSignalToEndIsKilled) {
  ProgramResult result;
  const double took = seconds_of([&] {
    result = launch({"-n", "2", "--grace", "0"},
                    "if [ $RANK = 0 ]; then exit 1; fi; trap '' TERM; while :; do sleep 1; done");
  });
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_LT(took, 30.0);
}

TEST(Launch, NoRankOutlivesTheLauncher) {
  const tests::TemporaryFolder folder;
  const std::string pids = (folder / "pids").string();
  const ProgramResult result = tests::run_program(
      {"/bin/sh", "-c",
       LEXEL_BIN_DIR "/lexel launch -n 2 -- /bin/sh -c 'echo $$ >> " + pids +
           "; exec sleep 60' & launcher=$!; while [ $(cat " + pids +
           " 2>/dev/null | wc -l) -lt 2 ]; do sleep 0.1; done; kill -9 $launcher; sleep 0.5; "
           "for p in $(cat " +
           pids +
           "); do [ -d /proc/$p ] && grep -q '^State:.[^Z]' /proc/$p/status && echo alive; done; "
           "true"});
  EXPECT_EQ(result.out, "") << result.err;
}

TEST(Launch, AProgramThatIsNotThereIsOneLine) {
  const ProgramResult result =
      tests::run_program({LEXEL_BIN_DIR "/lexel", "launch", "-n", "1", "--", "/no/such/program"});
  EXPECT_EQ(result.exit_code, 127);
  EXPECT_EQ(result.err, "lexel launch: /no/such/program cannot be run\n");
}

}  // namespace
}  // namespace lexel
