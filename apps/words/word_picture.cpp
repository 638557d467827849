#include "apps/words/word_picture.h"

#include <ATen/TensorOperators.h>
#include <algorithm>

#include "kernels/check.h"
#include "spae/pyramid.h"
#include "tokenizers/io/bitmap_text.h"
#include "tokenizers/io/contact_sheet.h"
#include "tokenizers/io/preprocess.h"

namespace lexel::cli {
namespace {

constexpr int64_t kPanel = 768;     // pixels a side
constexpr int64_t kColumns = 3;     // panels a row
constexpr int64_t kMaxScale = 6;    // pixels a dot of the letters
constexpr double kPaleness = 0.65;  // share of white over the picture
constexpr Ink kInk = {16, 16, 48};

/// One layer's words, their centres at their positions.
///
/// words   (side * side) in raster order
Image panel_of(const Image& pale, const std::string* words, const std::vector<int64_t>& positions,
               int64_t grid, int64_t side) {
  Image panel{pale.pixels.clone()};
  size_t longest = 1;
  for (size_t n = 0; n < positions.size(); ++n) longest = std::max(longest, words[n].size());
  const int64_t cell = kPanel / side;
  const auto letters = static_cast<int64_t>(longest);
  const int64_t scale = std::clamp<int64_t>(cell / (letters * kLetterWidth), 1, kMaxScale);
  // Staggered, a word has the room of two cells.
  const bool staggered = letters * kLetterWidth > cell;
  const auto room = static_cast<size_t>((staggered ? 2 : 1) * cell / (scale * kLetterWidth));
  for (size_t n = 0; n < positions.size(); ++n) {
    const std::string word = words[n].substr(0, std::max<size_t>(1, room));
    const auto width = static_cast<int64_t>(word.size()) * kLetterWidth * scale;
    const int64_t x = (2 * (positions[n] % grid) + 1) * kPanel / (2 * grid);
    int64_t y = (2 * (positions[n] / grid) + 1) * kPanel / (2 * grid);
    if (staggered) y += (n % 2 == 0 ? -1 : 1) * cell / 4;
    const int64_t left =
        std::clamp<int64_t>(x - width / 2, 0, std::max<int64_t>(0, kPanel - width));
    draw_text_(panel.pixels, left, y - kLetterHeight * scale / 2, word, kInk, scale);
  }
  return panel;
}

}  // namespace

Image word_picture(const at::Tensor& picture, const std::vector<std::string>& words,
                   const std::vector<int64_t>& sides) {
  const spae::Pyramid pyramid = spae::make_pyramid(sides);
  check_arg(picture.dim() == 3 && picture.size(0) == 3, "word_picture",
            "expected a picture (3, S, S), got ", picture.sizes());
  check_arg(static_cast<int64_t>(words.size()) == pyramid.tokens(), "word_picture", "expected ",
            pyramid.tokens(), " words, got ", words.size());
  const at::Tensor large = resize(picture, kPanel, kPanel, "bicubic").clamp(0.0, 1.0);
  const Image pale = to_image(large * (1.0 - kPaleness) + kPaleness);
  std::vector<std::vector<Image>> rows;
  for (int64_t layer = 0; layer < pyramid.layers(); ++layer) {
    if (layer % kColumns == 0) rows.emplace_back();
    const auto i = static_cast<size_t>(layer);
    const Image panel = panel_of(pale, words.data() + pyramid.tokens(layer), pyramid.positions[i],
                                 pyramid.grid(), sides[i]);
    rows.back().push_back(
        captioned(panel, concat("layer ", layer + 1, ": ", sides[i], " x ", sides[i])));
  }
  return contact_sheet(rows);
}

}  // namespace lexel::cli
