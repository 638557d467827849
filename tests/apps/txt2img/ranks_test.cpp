#include <gmock/gmock.h>

#include "tests/apps/txt2img/txt2img_fixture.h"

// txt2img on several ranks, as real processes.

namespace lexel::tests {
namespace {

using ::testing::HasSubstr;

class Txt2ImgRanks : public Txt2ImgTest {
 protected:
  ProgramResult launched(const std::vector<std::string>& more,
                         const std::string& input = "") const {
    std::vector<std::string> arguments = {LEXEL_BIN_DIR "/lexel",
                                          "launch",
                                          "-n",
                                          "2",
                                          "--grace",
                                          "5",
                                          "--",
                                          LEXEL_BIN_DIR "/txt2img",
                                          "--model",
                                          generator(),
                                          "--tokenizer",
                                          model(),
                                          "--device",
                                          "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments, input);
  }
};

TEST_F(Txt2ImgRanks, TwoRanksDrawThePicturesOfOne) {
  const std::vector<std::string> what = {
      "a red fish", "two green trees", "--count", "2", "--guidance", "1.7", "--seed", "5"};
  std::vector<std::string> one = what, two = what;
  one.insert(one.end(), {"-o", path("one/")});
  two.insert(two.end(), {"-o", path("two/"), "--mesh", "tensor=2"});
  drawn(one);
  const ProgramResult result = launched(two);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  // Once, though two ranks ran.
  EXPECT_THAT(result.err, HasSubstr("txt2img: wrote 4 pictures into " + path("two/")));
  EXPECT_EQ(result.err.find("wrote"), result.err.rfind("wrote"));
  const std::vector<std::string> names = names_in(path("one"));
  ASSERT_EQ(names.size(), 4U);
  EXPECT_EQ(names_in(path("two")), names);
  for (const std::string& name : names)
    EXPECT_EQ(read_text(path("two/" + name)), read_text(path("one/" + name))) << name;
}

TEST_F(Txt2ImgRanks, WhatCannotBeIsSaidByName) {
  const auto refused = [&](const std::vector<std::string>& more, const std::string& message) {
    const ProgramResult result = launched(more);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(message));
  };
  refused({"a fish", "--mesh", "tensor=4"}, "mesh tensor=4 has 4 ranks, but 2 processes run");
  refused({"a fish", "--mesh", "data=2"}, "axis data: pictures are drawn along tensor alone");
  refused({"-"}, "expected captions as arguments or in a file");
  const ProgramResult alone = txt2img({"a fish", "--mesh", "tensor=2"});
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_THAT(alone.err, HasSubstr("mesh tensor=2 has 2 ranks, but 1 process runs"));
}

}  // namespace
}  // namespace lexel::tests
