#include "tokenizers/io/contact_sheet.h"

#include <ATen/ops/full.h>
#include <algorithm>

#include "kernels/check.h"
#include "tokenizers/io/bitmap_text.h"

namespace lexel {
namespace {

constexpr int64_t kBorder = 2;        // pixels
constexpr int64_t kTitleHeight = 11;  // pixels: 7 of a letter, 2 above and below
constexpr uint8_t kPaper = 245;
constexpr Ink kInk = {40, 40, 40};
constexpr int64_t kLineHeight = 10;  // pixels

}  // namespace

Image contact_sheet(const std::vector<std::vector<Image>>& rows,
                    const std::vector<std::string>& titles) {
  std::vector<int64_t> widths, heights;
  for (const std::vector<Image>& row : rows) {
    heights.push_back(0);
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], row[column].width());
      heights.back() = std::max(heights.back(), row[column].height());
    }
  }
  check_arg(!widths.empty(), "contact_sheet", "expected at least one picture");
  check_arg(titles.empty() || titles.size() == widths.size(), "contact_sheet", "expected ",
            widths.size(), " titles, got ", titles.size());
  int64_t width = kBorder, height = kBorder + (titles.empty() ? 0 : kTitleHeight);
  const int64_t first_top = height;
  for (const int64_t w : widths) width += w + kBorder;
  for (const int64_t h : heights) height += h + kBorder;
  check_arg(width <= kMaxImagePixels / height, "contact_sheet", "expected at most ",
            kMaxImagePixels, " pixels, got ", width, " x ", height);

  at::Tensor sheet = at::full({height, width, 3}, kPaper, at::kByte);  // (H, W, 3)
  int64_t left = kBorder;
  for (size_t column = 0; column < widths.size(); ++column) {
    if (!titles.empty()) {
      const auto letters = static_cast<size_t>(widths[column] / kLetterWidth);
      draw_text_(sheet, left, 2, titles[column].substr(0, letters), kInk);
    }
    int64_t top = first_top;
    for (size_t row = 0; row < rows.size(); ++row) {
      if (column < rows[row].size()) {
        const Image& image = rows[row][column];
        sheet.narrow(0, top, image.height()).narrow(1, left, image.width()).copy_(image.pixels);
      }
      top += heights[row] + kBorder;
    }
    left += widths[column] + kBorder;
  }
  return {sheet};
}

Image captioned(const Image& image, const std::string& caption, int64_t max_lines) {
  // One letter's width stays free at the right: captions of neighbours on a sheet must not read as one.
  const auto letters = static_cast<size_t>(std::max<int64_t>(1, image.width() / kLetterWidth - 1));
  const std::vector<std::string> lines =
      wrap_text(caption, letters, static_cast<size_t>(std::max<int64_t>(1, max_lines)));
  const int64_t below = 3 + kLineHeight * static_cast<int64_t>(lines.size());
  at::Tensor sheet = at::full({image.height() + below, image.width(), 3}, kPaper, at::kByte);
  sheet.narrow(0, 0, image.height()).copy_(image.pixels);
  for (size_t i = 0; i < lines.size(); ++i) {
    draw_text_(sheet, 0, image.height() + 3 + kLineHeight * static_cast<int64_t>(i), lines[i],
               kInk);
  }
  return {sheet};
}

}  // namespace lexel
