#include "tokenizers/io/preprocess.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "tests/support/expect_error.h"

namespace lexel {
namespace {

using tests::expect_error;

// Red rises to the right, green downwards: smooth, and each place tells where it was.
Image gradient(int64_t width, int64_t height) {
  at::Tensor pixels = at::zeros({height, width, 3}, at::kByte);
  auto values = pixels.accessor<uint8_t, 3>();
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      values[y][x][0] = static_cast<uint8_t>(x * 255 / std::max<int64_t>(1, width - 1));
      values[y][x][1] = static_cast<uint8_t>(y * 255 / std::max<int64_t>(1, height - 1));
      values[y][x][2] = static_cast<uint8_t>((x * 7 + y * 13) % 256 / 4);
    }
  }
  return {pixels};
}

int largest_difference(const Image& a, const Image& b) {
  return a.pixels.to(at::kInt).sub(b.pixels.to(at::kInt)).abs().max().item<int>();
}

const std::vector<std::pair<int64_t, int64_t>> kSizes{{1, 1},   {32, 32},  {33, 31}, {64, 32},
                                                      {5, 100}, {2000, 3}, {97, 130}};

TEST(Prepare, TilesComeBackExactlyAtEverySize) {
  const Preprocess preprocess{.image_size = 32, .fit = "tiles"};
  for (const auto& [width, height] : kSizes) {
    const Image image = gradient(width, height);
    const Prepared prepared = prepare(image, preprocess);
    EXPECT_EQ(prepared.tiles.size(0), (width + 31) / 32 * ((height + 31) / 32));
    EXPECT_TRUE(
        at::equal(restore(prepared.tiles, prepared.layout, preprocess).pixels, image.pixels))
        << width << " x " << height;
  }
}

TEST(Prepare, TilesAreInReadingOrderAndTheEdgeIsRepeated) {
  const Image image = gradient(40, 20);
  const Prepared prepared = prepare(image, {.image_size = 32, .fit = "tiles"});
  const at::Tensor whole = to_tensor(image);  // (3, 20, 40)
  ASSERT_EQ(prepared.tiles.sizes(), (std::vector<int64_t>{2, 3, 32, 32}));
  EXPECT_TRUE(at::equal(prepared.tiles[0].narrow(1, 0, 20), whole.narrow(2, 0, 32)));
  EXPECT_TRUE(
      at::equal(prepared.tiles[1].narrow(1, 0, 20).narrow(2, 0, 8), whole.narrow(2, 32, 8)));
  EXPECT_TRUE(at::equal(prepared.tiles[1].select(2, 31), prepared.tiles[1].select(2, 7)));
  EXPECT_TRUE(at::equal(prepared.tiles[1].select(1, 31), prepared.tiles[1].select(1, 19)));
}

TEST(Prepare, EveryFitGivesTheModelsShapeAndTheRightSizeBack) {
  for (const char* fit : {"crop", "pad", "stretch"}) {
    for (const char* kernel : {"bicubic", "bilinear", "box"}) {
      const Preprocess preprocess{.image_size = 32, .fit = fit, .kernel = kernel};
      for (const auto& [width, height] : kSizes) {
        const Prepared prepared = prepare(gradient(width, height), preprocess);
        ASSERT_EQ(prepared.tiles.sizes(), (std::vector<int64_t>{1, 3, 32, 32}));
        EXPECT_GE(prepared.tiles.min().item<float>(), 0);
        EXPECT_LE(prepared.tiles.max().item<float>(), 1);
        const Image back = restore(prepared.tiles, prepared.layout, preprocess);
        const bool crop = preprocess.fit == "crop";
        EXPECT_EQ(back.width(), crop ? 32 : width);
        EXPECT_EQ(back.height(), crop ? 32 : height);
      }
    }
  }
}

TEST(Prepare, CropTakesTheCentreSquare) {
  const Image image = gradient(96, 32);
  const Prepared prepared = prepare(image, {.image_size = 32, .fit = "crop"});
  EXPECT_TRUE(at::equal(prepared.tiles[0], to_tensor(image).narrow(2, 32, 32)));
}

TEST(Prepare, PadPutsThePictureInTheMiddleOfItsEdgeColour) {
  const Image image{at::zeros({8, 32, 3}, at::kByte)};
  image.pixels.fill_(51);  // 0.2
  const Prepared prepared = prepare(image, {.image_size = 16, .fit = "pad"});
  const Layout expected{
      .width = 32, .height = 8, .left = 0, .top = 6, .shown_width = 16, .shown_height = 4};
  EXPECT_EQ(prepared.layout, expected);
  EXPECT_NEAR(prepared.tiles.min().item<float>(), 0.2, 1e-6);
  EXPECT_NEAR(prepared.tiles.max().item<float>(), 0.2, 1e-6);
}

TEST(Prepare, StretchAndBackStaysCloseOnASmoothPicture) {
  const Image image = gradient(48, 40);
  const Preprocess preprocess{.image_size = 64, .fit = "stretch"};
  const Prepared prepared = prepare(image, preprocess);
  const Image back = restore(prepared.tiles, prepared.layout, preprocess);
  EXPECT_LE(largest_difference({back.pixels.narrow(2, 0, 2).contiguous()},
                               {image.pixels.narrow(2, 0, 2).contiguous()}),
            4);
}

TEST(Prepare, RefusesUnknownRules) {
  const Image image = gradient(4, 4);
  expect_error(ErrorKind::kUsage, "got squeeze", [&] { prepare(image, {.fit = "squeeze"}); });
  expect_error(ErrorKind::kUsage, "got nearest", [&] { prepare(image, {.kernel = "nearest"}); });
  expect_error(ErrorKind::kUsage, "got 0", [&] { prepare(image, {.image_size = 0}); });
  expect_error(ErrorKind::kUsage, "got 16385", [&] { validate({.image_size = 16385}); });
}

TEST(MakeLayout, RefusesSizesThatNoPictureHas) {
  expect_error(ErrorKind::kBadData, "0 x 5", [] { make_layout(0, 5, {}); });
  expect_error(ErrorKind::kBadData, "60000 x 60000", [] { make_layout(60000, 60000, {}); });
}

TEST(Restore, RefusesALayoutThatIsNotItsOwn) {
  const Preprocess preprocess{.image_size = 32, .fit = "tiles"};
  Prepared prepared = prepare(gradient(40, 20), preprocess);
  expect_error(ErrorKind::kUsage, "expected tiles",
               [&] { restore(prepared.tiles.narrow(0, 0, 1), prepared.layout, preprocess); });
  prepared.layout.left = 1;
  expect_error(ErrorKind::kBadData, "contradicts",
               [&] { restore(prepared.tiles, prepared.layout, preprocess); });
}

// Pillow 13.0.0: Image.fromarray(x).resize((3, 2), Image.Resampling.X), x = `levels`.
TEST(Resize, AgreesWithPillow) {
  const std::vector<int> levels{0,  100, 200, 50, 250, 25, 10, 90, 180, 70,  240, 35,
                                20, 80,  160, 90, 230, 45, 30, 70, 140, 110, 220, 55};
  Image image{at::zeros({4, 6, 3}, at::kByte)};
  for (int64_t i = 0; i < 24; ++i) image.pixels[i / 6][i % 6].fill_(levels[static_cast<size_t>(i)]);
  const std::vector<std::pair<const char*, std::vector<int>>> cases{
      {"bilinear", {69, 136, 127, 65, 132, 132}}, {"bicubic", {64, 142, 127, 59, 137, 133}}};
  for (const auto& [kernel, expected] : cases) {
    const Image eight_bits = resize(image, 2, 3, kernel);
    const Image rounded = to_image(resize(to_tensor(image), 2, 3, kernel));
    for (int64_t i = 0; i < 6; ++i) {
      const int value = expected[static_cast<size_t>(i)];
      EXPECT_NEAR(eight_bits.pixels[i / 3][i % 3][1].item<int>(), value, 1) << kernel << " " << i;
      EXPECT_NEAR(rounded.pixels[i / 3][i % 3][1].item<int>(), value, 1) << kernel << " " << i;
    }
  }
}

TEST(Resize, BoxIsTheMean) {
  const Image image = gradient(8, 8);
  const at::Tensor small = resize(to_tensor(image), 1, 1, "box");
  EXPECT_TRUE(small.view({3}).allclose(to_tensor(image).mean(at::IntArrayRef{1, 2}), 1e-5, 1e-5));
}

TEST(Resize, RefusesEmptySizes) {
  expect_error(ErrorKind::kUsage, "at least 1 x 1",
               [] { resize(gradient(4, 4), 0, 4, "bicubic"); });
  expect_error(ErrorKind::kUsage, "at least 1 x 1",
               [] { resize(to_tensor(gradient(4, 4)), 4, 0, "bicubic"); });
}

}  // namespace
}  // namespace lexel
