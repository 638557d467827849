#include "tokenizers/io/picture_label.h"

#include <gtest/gtest.h>

namespace lexel {
namespace {

TEST(PictureLabel, SaysWhatTheJsonSays) {
  const PictureLabel label = picture_label(
      R"({"caption": "a \u00e4pple", "class": 7, "set": "emoji", "split": "heldout", "more": [1]})");
  EXPECT_TRUE(label.found);
  EXPECT_EQ(label.caption, "a \u00e4pple");
  EXPECT_EQ(label.label, 7);
  EXPECT_EQ(label.set, "emoji");
  EXPECT_TRUE(label.held_out);
}

TEST(PictureLabel, WhatIsNotSaidIsNone) {
  const PictureLabel label = picture_label("{}");
  EXPECT_TRUE(label.found);
  EXPECT_EQ(label.caption, "");
  EXPECT_EQ(label.label, -1);
  EXPECT_FALSE(label.held_out);
  EXPECT_FALSE(picture_label(R"({"split": "train"})").held_out);
}

TEST(PictureLabel, WhatIsNoObjectSaysNothing) {
  for (const char* json : {"", "[]", "7", "\"caption\"", "{", "{\"caption\": \"a\"", "\xFF"}) {
    EXPECT_FALSE(picture_label(json).found) << json;
  }
}

TEST(PictureLabel, AValueOfAnotherTypeSaysNothing) {
  const PictureLabel label =
      picture_label(R"({"caption": 5, "class": "7", "set": null, "split": ["heldout"]})");
  EXPECT_TRUE(label.found);
  EXPECT_EQ(label.caption, "");
  EXPECT_EQ(label.label, -1);
  EXPECT_FALSE(label.held_out);
  for (const char* json : {R"({"class": -1})", R"({"class": 1.5})", R"({"class": 2147483648})",
                           R"({"class": 99999999999999999999})"}) {
    EXPECT_EQ(picture_label(json).label, -1) << json;
  }
  EXPECT_EQ(picture_label(R"({"class": 2147483647})").label, 2147483647);
}

}  // namespace
}  // namespace lexel
