#include "tokenizers/utf8.h"

#include <gtest/gtest.h>

namespace lexel {
namespace {

TEST(Utf8, WellFormedTextHasNoFault) {
  for (const char* text :
       {"", "plain", "h\u00e9", "\u4e2d\u6587", "\U0001F420", "\uffff", "\U0010FFFF"})
    EXPECT_FALSE(first_invalid_utf8(text).has_value()) << text;
  EXPECT_FALSE(first_invalid_utf8(std::string_view("a\0b", 3)).has_value());
}

TEST(Utf8, TheFirstFaultIsNamed) {
  EXPECT_EQ(first_invalid_utf8("ab\x80"), 2U);            // stray continuation
  EXPECT_EQ(first_invalid_utf8("\xC0\xAF"), 0U);          // overlong "/"
  EXPECT_EQ(first_invalid_utf8("\xE0\x80\xAF"), 0U);      // overlong, three bytes
  EXPECT_EQ(first_invalid_utf8("\xF0\x80\x80\xAF"), 0U);  // overlong, four bytes
  EXPECT_EQ(first_invalid_utf8("a\xED\xA0\x80"), 1U);     // surrogate
  EXPECT_EQ(first_invalid_utf8("\xF4\x90\x80\x80"), 0U);  // past U+10FFFF
  EXPECT_EQ(first_invalid_utf8("\xFF"), 0U);
  EXPECT_EQ(first_invalid_utf8("\xE4\xB8\xAD\xE6\x96"), 3U);  // truncated
  EXPECT_EQ(first_invalid_utf8("\xE4\x41\x41"), 0U);
}

}  // namespace
}  // namespace lexel
