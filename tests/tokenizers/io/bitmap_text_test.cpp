#include "tokenizers/io/bitmap_text.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <set>

namespace lexel {
namespace {

/// The dots of a text, row by row, " " and "#".
std::string drawn(const std::string& text, int64_t scale = 1) {
  const int64_t width = kLetterWidth * scale * static_cast<int64_t>(text.size());
  at::Tensor pixels = at::zeros({kLetterHeight * scale, width, 3}, at::kByte);
  draw_text_(pixels, 0, 0, text, {9, 9, 9}, scale);
  std::string dots;
  const auto at = pixels.accessor<uint8_t, 3>();
  for (int64_t y = 0; y < pixels.size(0); ++y) {
    for (int64_t x = 0; x < width; ++x) dots += at[y][x][1] == 9 ? '#' : ' ';
    dots += '\n';
  }
  return dots;
}

TEST(DrawText, ALetterIsFiveBySevenDots) {
  EXPECT_EQ(drawn("T"),
            "##### \n"
            "  #   \n"
            "  #   \n"
            "  #   \n"
            "  #   \n"
            "  #   \n"
            "  #   \n"
            "      \n");
}

TEST(DrawText, SmallLettersAreCapitalsAndWhatIsUnknownIsBlank) {
  EXPECT_EQ(drawn("fish"), drawn("FISH"));
  EXPECT_EQ(drawn("~"), drawn(" "));
  // A character of two bytes takes one letter's place.
  at::Tensor wide = at::zeros({8, 18, 3}, at::kByte), plain = at::zeros({8, 18, 3}, at::kByte);
  draw_text_(wide, 0, 0, "\u00e4X", {9, 9, 9});
  draw_text_(plain, 0, 0, " X", {9, 9, 9});
  EXPECT_TRUE(wide.equal(plain));
}

TEST(DrawText, NoTwoCharactersLookAlike) {
  const std::string font = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,-+:/()%=_'!?\"&;#";
  std::set<std::string> shapes{drawn(" ")};
  for (const char letter : font) shapes.insert(drawn(std::string(1, letter)));
  EXPECT_EQ(shapes.size(), font.size() + 1);
}

TEST(DrawText, ScaleAndInkAreAsAsked) {
  at::Tensor small = at::zeros({8, 6, 3}, at::kByte), large = at::zeros({24, 18, 3}, at::kByte);
  draw_text_(small, 0, 0, "R", {200, 100, 50});
  draw_text_(large, 0, 0, "R", {200, 100, 50}, 3);
  EXPECT_TRUE(large.equal(small.repeat_interleave(3, 0).repeat_interleave(3, 1)));
  EXPECT_EQ(small.select(2, 0).max().item<int64_t>(), 200);
  EXPECT_EQ(small.select(2, 2).max().item<int64_t>(), 50);
}

TEST(WrapText, BreaksAtSpacesAndCountsCharacters) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(wrap_text("a red fish above", 10, 4), (Lines{"a red fish", "above"}));
  EXPECT_EQ(wrap_text("  a \n b ", 10, 4), (Lines{"a b"}));
  EXPECT_EQ(wrap_text("abcdefghij", 4, 4), (Lines{"abcd", "efgh", "ij"}));
  EXPECT_EQ(wrap_text("\u00e4\u00f6\u00fc \u00df", 5, 4), (Lines{"\u00e4\u00f6\u00fc \u00df"}));
  EXPECT_EQ(wrap_text("one two three four", 5, 2), (Lines{"one", "tw..."}));
  EXPECT_EQ(wrap_text("", 5, 2), Lines{});
}

TEST(DrawText, IsCutAtThePicturesEdges) {
  at::Tensor pixels = at::zeros({6, 10, 3}, at::kByte);
  draw_text_(pixels, -3, -2, "MMMM", {255, 0, 0}, 2);
  EXPECT_GT(pixels.select(2, 0).sum().item<int64_t>(), 0);
  EXPECT_EQ(pixels.narrow(2, 1, 2).sum().item<int64_t>(), 0);
}

}  // namespace
}  // namespace lexel
