#include "autoregressive/edit.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/tokenizers/tiny_model.h"
#include "tokenizers/vit_vqgan_file.h"
#include "tokenizers/vit_vqgan_tokenizer.h"

namespace lexel {
namespace {

using tests::expect_error;

// 16 x 16 pixels, 4 x 4 tokens.
std::unique_ptr<ImageTokenizer> tiny_tokenizer() {
  return make_vit_vqgan_tokenizer(vit_vqgan_file(tests::tiny_model(3), tests::tiny_preprocess()),
                                  "tiny.safetensors", at::kCPU);
}

Image noise(int64_t width, int64_t height) {
  return to_image(tests::random_uniform(4, {3, height, width}));
}

/// Black, with one light rectangle.
Image mask_of(int64_t width, int64_t height, int64_t left, int64_t top, int64_t w, int64_t h) {
  const at::Tensor pixels = at::zeros({height, width, 3}, at::kByte);
  pixels.narrow(0, top, h).narrow(1, left, w).fill_(255);
  return {pixels};
}

std::vector<int64_t> redrawn(const Edit& edit) {
  const at::Tensor cells = edit.redraw.flatten().nonzero().flatten();
  return {cells.data_ptr<int64_t>(), cells.data_ptr<int64_t>() + cells.numel()};
}

TEST(Edit, EveryTouchedCellIsRedrawnAndTheOthersKeepTheirTokens) {
  const auto tokenizer = tiny_tokenizer();
  const Image photo = noise(16, 16);
  const Edit edit = edit_masked(*tokenizer, photo, mask_of(16, 16, 3, 4, 2, 1));
  EXPECT_EQ(redrawn(edit), (std::vector<int64_t>{4, 5}));  // one pixel of each side of x = 4
  const at::Tensor tokens = tokenizer->encode(to_tensor(photo).unsqueeze(0)).squeeze(0);
  for (int64_t i = 0; i < 16; ++i) {
    const int64_t expected = i == 4 || i == 5 ? -1 : tokens[i].item<int64_t>();
    EXPECT_EQ(edit.given[i].item<int64_t>(), expected) << i;
  }
}

TEST(Edit, TheMaskIsCutAsThePhotoIs) {
  const auto tokenizer = tiny_tokenizer();
  // 40 x 20: the centre square starts at x = 10, a cell is 5 pixels.
  EXPECT_EQ(redrawn(edit_masked(*tokenizer, noise(40, 20), mask_of(40, 20, 29, 19, 1, 1))),
            std::vector<int64_t>{15});
  EXPECT_EQ(redrawn(edit_masked(*tokenizer, noise(40, 20), mask_of(40, 20, 0, 0, 11, 1))),
            std::vector<int64_t>{0});
  // 6 pixels a side, 1.5 a cell: pixel 1 lies in cells 0 and 1.
  EXPECT_EQ(redrawn(edit_masked(*tokenizer, noise(6, 6), mask_of(6, 6, 1, 0, 1, 1))),
            (std::vector<int64_t>{0, 1}));
  // Smaller than the grid: a pixel covers several cells.
  EXPECT_EQ(redrawn(edit_masked(*tokenizer, noise(2, 2), mask_of(2, 2, 0, 0, 1, 1))),
            (std::vector<int64_t>{0, 1, 4, 5}));
}

TEST(Edit, RefusesMasksThatCannotBe) {
  const auto tokenizer = tiny_tokenizer();
  expect_error(ErrorKind::kBadData, "the mask has 8 x 16 pixels, the photo 16 x 16",
               [&] { edit_masked(*tokenizer, noise(16, 16), mask_of(8, 16, 0, 0, 1, 1)); });
  expect_error(ErrorKind::kBadData, "nothing to redraw",
               [&] { edit_masked(*tokenizer, noise(16, 16), mask_of(16, 16, 0, 0, 0, 0)); });
  expect_error(ErrorKind::kBadData, "nothing to redraw",  // light, but outside of the square
               [&] { edit_masked(*tokenizer, noise(40, 20), mask_of(40, 20, 0, 0, 10, 20)); });
}

TEST(Edit, KeepsTheTopRows) {
  const auto tokenizer = tiny_tokenizer();
  const Edit edit = edit_below(*tokenizer, noise(16, 16), 3);
  EXPECT_EQ(redrawn(edit), (std::vector<int64_t>{12, 13, 14, 15}));
  for (const int64_t rows : {int64_t{0}, int64_t{4}, int64_t{-1}}) {
    expect_error(ErrorKind::kUsage, "expected 1 to 3 rows",
                 [&] { edit_below(*tokenizer, noise(16, 16), rows); });
  }
}

TEST(Edit, PixelsAwayFromTheRedrawnCellsAreThePhotos) {
  const auto tokenizer = tiny_tokenizer();
  const Edit edit = edit_masked(*tokenizer, noise(16, 16), mask_of(16, 16, 4, 4, 4, 4));
  const at::Tensor drawn = at::ones_like(edit.photo);
  const at::Tensor picture = blend(edit, drawn);
  const auto at_pixel = [](const at::Tensor& image, int64_t x, int64_t y) {
    return image[0][y][x].item<float>();
  };
  for (int64_t y = 0; y < 16; ++y) {
    for (int64_t x = 0; x < 16; ++x) {
      const auto away = [](int64_t at) { return std::max<int64_t>({0, 4 - at, at - 7}); };
      const int64_t distance = std::max(away(x), away(y));  // pixels to the redrawn cell
      const float photo = at_pixel(edit.photo, x, y), got = at_pixel(picture, x, y);
      const float weight[] = {1.0F, 2.0F / 3, 1.0F / 3};
      if (distance > 2) {
        EXPECT_EQ(got, photo) << x << " " << y;
      } else {
        EXPECT_NEAR(got, photo + (1 - photo) * weight[distance], 1e-6) << x << " " << y;
      }
    }
  }
  expect_error(ErrorKind::kUsage, "blend", [&] { blend(edit, at::zeros({3, 8, 8})); });
}

}  // namespace
}  // namespace lexel
