#include <algorithm>
#include <gtest/gtest.h>

#include "tests/support/run_program.h"

namespace lexel::tests {
namespace {

const std::string kBin = LEXEL_BIN_DIR "/";

struct UsageCase {
  const char* name;
  std::vector<std::string> arguments;
  const char* words;
};

class UsageError : public ::testing::TestWithParam<UsageCase> {};

TEST_P(UsageError, IsOneLineWithExitCodeTwo) {
  std::vector<std::string> arguments = GetParam().arguments;
  arguments[0] = kBin + arguments[0];
  const ProgramResult result = run_program(arguments);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_NE(result.err.find(GetParam().words), std::string::npos) << result.err;
}

INSTANTIATE_TEST_SUITE_P(
    Programs, UsageError,
    ::testing::Values(UsageCase{"NoArguments", {"img2tok"}, "required"},
                      UsageCase{"OneArgument", {"img2tok", "a.jpg"}, "paths"},
                      UsageCase{"UnknownOption", {"img2tok", "a", "b", "--nope"}, "--nope"},
                      UsageCase{"HalfReadNumber", {"img2tok", "--batch", "12x", "a", "b"}, "12x"},
                      UsageCase{"NotANumber", {"img2tok", "--batch", "nan", "a", "b"}, "nan"},
                      UsageCase{"OutOfRange", {"img2tok", "--batch", "0", "a", "b"}, "range"},
                      UsageCase{"UnknownFit", {"img2tok", "--fit", "squash", "a", "b"}, "squash"},
                      UsageCase{"UnknownFormat", {"img2tok", "--format", "xml", "a", "b"}, "xml"},
                      UsageCase{"NoTokens", {"tok2img"}, "required"},
                      UsageCase{
                          "UnknownExtension", {"tok2img", "a", "b/", "--extension", "exe"}, "exe"},
                      UsageCase{"NoCommand", {"lexel"}, "command"},
                      UsageCase{"UnknownCommand", {"lexel", "fly"}, "fly"},
                      UsageCase{"InfoWithoutFile", {"lexel", "info"}, "required"}),
    [](const auto& test) { return std::string(test.param.name); });

class EachProgram : public ::testing::TestWithParam<const char*> {};

TEST_P(EachProgram, HelpGoesToStdoutWithAnExample) {
  const ProgramResult result = run_program({kBin + GetParam(), "--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_NE(result.out.find(std::string("Usage: ") + GetParam()), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("xample"), std::string::npos) << result.out;
}

TEST_P(EachProgram, SaysItsVersion) {
  const ProgramResult result = run_program({kBin + GetParam(), "--version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, std::string(GetParam()) + " " LEXEL_VERSION "\n");
}

TEST_P(EachProgram, HelpAndUsageErrorsDoNotLoadLibTorch) {
  for (const char* argument : {"--help", "--version", "--nope"}) {
    const ProgramResult result = run_program({kBin + GetParam(), argument}, "", {"LD_DEBUG=files"});
    EXPECT_NE(result.err.find("libstdc++"), std::string::npos) << "the loader said nothing";
    EXPECT_EQ(result.err.find("libtorch"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Programs, EachProgram,
                         ::testing::Values("img2tok", "tok2img", "txt2img", "lexel"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace lexel::tests
