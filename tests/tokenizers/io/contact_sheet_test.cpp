#include "tokenizers/io/contact_sheet.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "kernels/check.h"
#include "tests/support/expect_error.h"
#include "tokenizers/io/bitmap_text.h"

namespace lexel {
namespace {

Image flat(int64_t width, int64_t height, int level) {
  return {at::full({height, width, 3}, level, at::kByte)};
}

TEST(ContactSheet, PutsEachPictureInItsCell) {
  const Image a = flat(30, 20, 1), b = flat(10, 8, 2), c = flat(12, 6, 3);
  const Image sheet = contact_sheet({{a, b}, {c}});
  ASSERT_EQ(sheet.width(), 2 + 30 + 2 + 10 + 2);
  ASSERT_EQ(sheet.height(), 2 + 20 + 2 + 6 + 2);
  const auto cell = [&](int64_t left, int64_t top, const Image& of) {
    return sheet.pixels.narrow(0, top, of.height()).narrow(1, left, of.width());
  };
  EXPECT_TRUE(at::equal(cell(2, 2, a), a.pixels));
  EXPECT_TRUE(at::equal(cell(34, 2, b), b.pixels));
  EXPECT_TRUE(at::equal(cell(2, 24, c), c.pixels));
}

TEST(ContactSheet, TitlesAreDrawnAndCutToTheColumn) {
  const Image without = contact_sheet({{flat(30, 20, 9), flat(30, 20, 9)}});
  const Image titled = contact_sheet({{flat(30, 20, 9), flat(30, 20, 9)}}, {"original", "I"});
  ASSERT_EQ(titled.height(), without.height() + 11);
  const at::Tensor ink = titled.pixels.narrow(0, 0, 11).select(2, 0).eq(40);  // (11, W)
  EXPECT_GT(ink.narrow(1, 2, 30).sum().item<int64_t>(), 30);   // five letters of eight
  EXPECT_EQ(ink.narrow(1, 32, 2).sum().item<int64_t>(), 0);    // none on the border
  EXPECT_EQ(ink.narrow(1, 34, 30).sum().item<int64_t>(), 11);  // an I: 7 + 2 x 2
}

TEST(ContactSheet, ACaptionStandsBeneathItsPicture) {
  const Image one = captioned(flat(64, 20, 9), "a fish");
  ASSERT_EQ(one.width(), 64);
  ASSERT_EQ(one.height(), 20 + 3 + 10);
  EXPECT_TRUE(at::equal(one.pixels.narrow(0, 0, 20), flat(64, 20, 9).pixels));
  EXPECT_GT(one.pixels.narrow(0, 20, 13).eq(40).sum().item<int64_t>(), 30);
  EXPECT_EQ(captioned(flat(64, 20, 9), "a fish above the house").height(), 20 + 3 + 3 * 10);
  const std::string endless(100'000, 'x');
  EXPECT_EQ(captioned(flat(64, 20, 9), endless, 2).height(), 20 + 3 + 2 * 10);
}

TEST(ContactSheet, CaptionsOfNeighboursStandALetterApart) {
  for (const int64_t width : {54, 59, 60, 64}) {
    const Image one = captioned(flat(width, 20, 9), std::string(100, 'M'));
    const at::Tensor ink = one.pixels.narrow(0, 20, one.height() - 20).eq(40);  // (h, W, 3)
    EXPECT_EQ(ink.narrow(1, width - kLetterWidth, kLetterWidth).sum().item<int64_t>(), 0) << width;
    EXPECT_GT(ink.narrow(1, width - 3 * kLetterWidth, kLetterWidth).sum().item<int64_t>(), 0);
  }
  EXPECT_GT(captioned(flat(8, 8, 9), "M").pixels.eq(40).sum().item<int64_t>(), 0);
}

TEST(ContactSheet, RefusesNothingAndWrongTitles) {
  tests::expect_error(ErrorKind::kUsage, "at least one picture", [] { contact_sheet({}); });
  tests::expect_error(ErrorKind::kUsage, "expected 1 titles, got 2", [] {
    contact_sheet({{flat(1, 1, 0)}}, {"a", "b"});
  });
}

}  // namespace
}  // namespace lexel
