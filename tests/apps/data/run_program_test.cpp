#include "apps/data/run_program.h"

#include <filesystem>
#include <gtest/gtest.h>

#include "kernels/check.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace lexel::data {
namespace {

using tests::TemporaryFolder;

TEST(RunProgram, RunsInTheFolderAndWithoutAShell) {
  const TemporaryFolder folder;
  run_program({"touch", "a $(b); c"}, folder.path(), "");
  EXPECT_TRUE(std::filesystem::exists(folder / "a $(b); c"));
}

TEST(RunProgram, AMissingProgramIsUnsupportedAndNamesTheCure) {
  const TemporaryFolder folder;
  tests::expect_error(ErrorKind::kUnsupported, "no-such-program: not found; install it",
                      [&] { run_program({"no-such-program"}, folder.path(), "install it"); });
}

TEST(RunProgram, AFailureGivesTheLastLineAndTheCure) {
  const TemporaryFolder folder;
  tests::expect_error(ErrorKind::kIo, "No such file or directory; look again", [&] {
    run_program({"ls", "/no/such/folder"}, folder.path(), "look again");
  });
}

}  // namespace
}  // namespace lexel::data
