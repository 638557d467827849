#include "apps/output_names.h"

#include <gmock/gmock.h>

namespace lexel::cli {
namespace {

using ::testing::ElementsAre;

TEST(OutputNames, KeepFoldersAndReplaceTheExtension) {
  EXPECT_THAT(output_names({"cats/tom.jpg", "dog"}, "png"), ElementsAre("cats/tom.png", "dog.png"));
}

TEST(OutputNames, NumberNamesThatWouldMeet) {
  EXPECT_THAT(output_names({"a.jpg", "a.png", "a.webp"}, "png"),
              ElementsAre("a.png", "a-2.png", "a-3.png"));
}

TEST(OutputNames, StayInsideTheFolder) {
  EXPECT_THAT(output_names({"/etc/passwd", "../../x.png", "a/../../b.jpg", "..", ""}, "png"),
              ElementsAre("etc/passwd.png", "x.png", "a/b.png", "picture.png", "picture-2.png"));
}

TEST(OutputNames, ReplaceControlCharacters) {
  EXPECT_THAT(output_names({"a\nb\x1b[31m.png"}, "jpg"), ElementsAre("a_b_[31m.jpg"));
}

}  // namespace
}  // namespace lexel::cli
