#include "tokenizers/io/image.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <limits>

#include "kernels/check.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::TemporaryFolder;

// Made by tests/data/pictures/make_pictures.py.
std::string fixture(const std::string& name) {
  return std::string(LEXEL_SOURCE_DIR) + "/tests/data/pictures/" + name;
}

using Colour = std::array<int, 3>;

Colour colour_at(const Image& image, int64_t x, int64_t y) {
  const at::Tensor pixel = image.pixels[y][x].to(at::kInt);
  return {pixel[0].item<int>(), pixel[1].item<int>(), pixel[2].item<int>()};
}

void expect_colour(const Image& image, int64_t x, int64_t y, Colour expected, int tolerance) {
  const Colour found = colour_at(image, x, y);
  for (size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(found[c], expected[c], tolerance) << "channel " << c << " at " << x << ", " << y;
  }
}

Image noise(int64_t width, int64_t height) {
  const at::Tensor level = at::zeros({height, width, 3}, at::kLong);
  auto values = level.accessor<int64_t, 3>();
  for (int64_t y = 0, state = 1; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < 3; ++c) {
        state = state * 48271 % 2147483647;
        values[y][x][c] = state & 255;
      }
    }
  }
  return {level.to(at::kByte)};
}

struct Quadrants {
  const char* file;
  const char* format;
  int tolerance;  // levels
};

class ReadQuadrants : public testing::TestWithParam<Quadrants> {};

TEST_P(ReadQuadrants, GivesTheUprightPicture) {
  const auto [file, format, tolerance] = GetParam();
  const Image image = read_image(fixture(file));
  ASSERT_EQ(image.width(), 24);
  ASSERT_EQ(image.height(), 16);
  EXPECT_TRUE(image.pixels.is_contiguous());
  expect_colour(image, 2, 2, {255, 0, 0}, tolerance);
  expect_colour(image, 21, 2, {0, 255, 0}, tolerance);
  expect_colour(image, 2, 13, {0, 0, 255}, tolerance);
  expect_colour(image, 21, 13, {255, 255, 0}, tolerance);
  const std::vector<uint8_t> data = read_file(fixture(file), 1 << 20);
  const ImageHeader header = read_image_header(data.data(), data.size(), file);
  EXPECT_EQ(header.format, format);
  EXPECT_EQ(header.width * header.height, 24 * 16);
}

INSTANTIATE_TEST_SUITE_P(
    Formats, ReadQuadrants,
    testing::Values(Quadrants{"quadrants.png", "png", 0}, Quadrants{"quadrants.jpg", "jpeg", 4},
                    Quadrants{"progressive.jpg", "jpeg", 4}, Quadrants{"quadrants.webp", "webp", 0},
                    Quadrants{"quadrants.bmp", "bmp", 0}, Quadrants{"quadrants.ppm", "pnm", 0},
                    Quadrants{"quadrants.gif", "gif", 0}, Quadrants{"palette.png", "png", 0},
                    Quadrants{"interlaced.png", "png", 0}, Quadrants{"rgb16.png", "png", 0},
                    Quadrants{"cmyk.jpg", "jpeg", 6}, Quadrants{"animated.gif", "gif", 0},
                    Quadrants{"animated.webp", "webp", 0}, Quadrants{"exif_1.jpg", "jpeg", 4},
                    Quadrants{"exif_2.jpg", "jpeg", 4}, Quadrants{"exif_3.jpg", "jpeg", 4},
                    Quadrants{"exif_4.jpg", "jpeg", 4}, Quadrants{"exif_5.jpg", "jpeg", 4},
                    Quadrants{"exif_6.jpg", "jpeg", 4}, Quadrants{"exif_7.jpg", "jpeg", 4},
                    Quadrants{"exif_8.jpg", "jpeg", 4}, Quadrants{"exif_6.png", "png", 0},
                    Quadrants{"exif_6.webp", "webp", 0}),
    [](const auto& each) {
      std::string name = each.param.file;
      std::ranges::replace(name, '.', '_');
      return name;
    });

TEST(ReadImage, RepeatsGrayOverTheChannels) {
  for (const char* name : {"gray.png", "gray.jpg"}) {
    expect_colour(read_image(fixture(name)), 12, 8, {120, 120, 120}, 2);
  }
}

TEST(ReadImage, MakesEightBitsOfSixteen) {
  const Image image = read_image(fixture("gray16.png"));
  for (int64_t x = 0; x < 24; ++x) {
    const int level = static_cast<int>(10 * x);
    EXPECT_EQ(colour_at(image, x, 0), (Colour{level, level, level}));
  }
}

TEST(ReadImage, BlendsAlphaOnWhite) {
  for (const char* name : {"alpha.png", "alpha.webp"}) {
    const Image image = read_image(fixture(name));
    expect_colour(image, 2, 2, {255, 127, 127}, 0);  // 128 / 255 red on white
    expect_colour(image, 21, 2, {0, 255, 0}, 0);
  }
  expect_colour(read_image(fixture("gray_alpha.png")), 0, 0, {127, 127, 127}, 0);  // black on white
}

TEST(ReadImage, NamesWhatCannotBeOpened) {
  expect_error(ErrorKind::kIo,
               "/no/such/picture.png: ", [] { read_image("/no/such/picture.png"); });
  expect_error(ErrorKind::kIo, "is a folder", [] { read_image("/tmp"); });
}

TEST(ReadImage, RefusesTheEmptyAndTheForeign) {
  const uint8_t text[] = "This is not a picture, it is a sentence.";
  expect_error(ErrorKind::kBadData, "cat.png: is empty", [&] { decode_image(text, 0, "cat.png"); });
  expect_error(ErrorKind::kBadData, "cat.png: is not a picture",
               [&] { decode_image(text, sizeof text, "cat.png"); });
}

TEST(ReadImage, RefusesALyingHeaderBeforeItTakesMemory) {
  for (const char* name : {"lying.png", "lying.jpg"}) {
    expect_error(ErrorKind::kBadData, std::string(name) + ": the header says 60000 x 60000",
                 [&] { read_image(fixture(name)); });
  }
  const std::string pnm = "P6 60000 60000 255\n";
  expect_error(ErrorKind::kBadData, "60000 x 60000", [&] {
    decode_image(reinterpret_cast<const uint8_t*>(pnm.data()), pnm.size(), "a.ppm");
  });
}

// Every format cut at every length: an error each time, never a picture that is half made up.
class Truncated : public testing::TestWithParam<const char*> {};

TEST_P(Truncated, IsRefusedAtEveryLength) {
  const std::vector<uint8_t> data = read_file(fixture(GetParam()), 1 << 20);
  // An end-of-file mark of 1 or 2 bytes may be missing where the pixels are all there.
  const size_t complete = data.size() - (std::string(GetParam()).ends_with(".ppm") ? 0 : 2);
  for (size_t bytes = 0; bytes < complete; ++bytes) {
    // A buffer of its own size, so that the sanitizer sees a read past it.
    const std::vector<uint8_t> part(data.begin(),
                                    data.begin() + static_cast<std::ptrdiff_t>(bytes));
    expect_error(ErrorKind::kBadData,
                 "cut: ", [&] { decode_image(part.data(), part.size(), "cut"); });
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Truncated,
                         testing::Values("quadrants.png", "quadrants.jpg", "progressive.jpg",
                                         "cmyk.jpg", "quadrants.webp", "alpha.webp",
                                         "quadrants.bmp", "quadrants.ppm", "quadrants.gif",
                                         "interlaced.png"),
                         [](const auto& each) {
                           std::string name = each.param;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

// One byte changed at a time: an error or some picture of the right shape, and no other end.
TEST(ReadImage, SurvivesOneWrongByte) {
  for (const char* name :
       {"quadrants.png", "exif_6.jpg", "progressive.jpg", "exif_6.webp", "alpha.webp",
        "animated.webp", "quadrants.gif", "quadrants.bmp", "quadrants.ppm"}) {
    const std::vector<uint8_t> data = read_file(fixture(name), 1 << 20);
    for (size_t at = 0; at < data.size(); ++at) {
      std::vector<uint8_t> wrong = data;
      wrong[at] ^= 0xFF;
      try {
        // A header that now claims a large picture is allowed to, decoding it would only take time.
        const ImageHeader header = read_image_header(wrong.data(), wrong.size(), name);
        if (header.width > 4096 || header.height > 4096) continue;
        EXPECT_GT(decode_image(wrong.data(), wrong.size(), name).pixels.numel(), 0);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kBadData);
      }
    }
  }
}

TEST(WriteImage, LosslessFormatsGiveThePixelsBack) {
  const TemporaryFolder folder;
  for (const Image& image : {noise(31, 17), noise(1, 1), noise(1, 40)}) {
    for (const char* name : {"a.png", "a.webp", "a.PNG"}) {
      const std::string path = folder / name;
      write_image(path, image);
      EXPECT_TRUE(at::equal(read_image(path).pixels, image.pixels)) << path;
    }
  }
}

TEST(RgbaImage, KeepsAlphaBothWays) {
  RgbaImage image{at::zeros({3, 5, 4}, at::kByte)};
  for (int64_t i = 0; i < image.pixels.numel(); ++i)
    image.pixels.data_ptr<uint8_t>()[i] = static_cast<uint8_t>(37 * i);
  const std::vector<uint8_t> file = encode_rgba(image);
  EXPECT_TRUE(at::equal(decode_rgba(file.data(), file.size(), "x.png").pixels, image.pixels));
  EXPECT_EQ(decode_image(file.data(), file.size(), "x.png").pixels.size(2), 3);
  expect_error(ErrorKind::kUsage, "(H, W, 4)",
               [&] { encode_rgba({image.pixels.narrow(2, 0, 3).contiguous()}); });
}

TEST(RgbaImage, WhatHasNoAlphaIsOpaque) {
  const Image image{at::full({4, 6, 3}, 90, at::kByte)};
  for (const char* format : {"png", "jpeg", "webp"}) {
    const std::vector<uint8_t> file = encode_image(image, format);
    const at::Tensor pixels = decode_rgba(file.data(), file.size(), format).pixels;
    ASSERT_EQ(pixels.sizes(), at::IntArrayRef({4, 6, 4})) << format;
    EXPECT_TRUE(pixels.select(2, 3).eq(255).all().item<bool>()) << format;
    EXPECT_TRUE(
        at::equal(pixels.narrow(2, 0, 3), decode_image(file.data(), file.size(), format).pixels));
  }
}

TEST(WriteImage, LongThinPictures) {
  const TemporaryFolder folder;
  const Image image{at::full({3, 20000, 3}, 77, at::kByte)};
  for (const char* name : {"a.png", "a.jpg"}) {
    write_image(folder / name, image);
    EXPECT_TRUE(at::equal(read_image(folder / name).pixels, image.pixels)) << name;
  }
  expect_error(ErrorKind::kUsage, "at most 16383 pixels",
               [&] { write_image(folder / "a.webp", image); });
}

TEST(WriteImage, JpegStaysCloseOnSmoothPictures) {
  const Image image = read_image(fixture("gray16.png"));
  const std::vector<uint8_t> data = encode_image(image, "jpeg");
  const Image back = decode_image(data.data(), data.size(), "back");
  EXPECT_LE(back.pixels.to(at::kInt).sub(image.pixels.to(at::kInt)).abs().max().item<int>(), 3);
}

TEST(WriteImage, RefusesUnknownNames) {
  const Image image = noise(2, 2);
  expect_error(ErrorKind::kUsage, "a.tiff: expected a name that ends in",
               [&] { write_image("a.tiff", image); });
  expect_error(ErrorKind::kUsage, "expected a name", [&] { write_image("folder.png/a", image); });
  expect_error(ErrorKind::kUsage, "got tiff", [&] { encode_image(image, "tiff"); });
  expect_error(ErrorKind::kUsage, "expected pixels (H, W, 3)",
               [&] { encode_image(Image{image.pixels.to(at::kFloat)}, "png"); });
}

TEST(WriteImage, NoFolderIsAnIoError) {
  expect_error(ErrorKind::kIo, "/no/such/folder/a.png: cannot be written",
               [] { write_image("/no/such/folder/a.png", noise(2, 2)); });
}

TEST(ImageTensor, RoundTripIsExact) {
  const Image image = noise(9, 5);
  const at::Tensor tensor = to_tensor(image);  // (3, 5, 9)
  EXPECT_EQ(tensor.sizes(), (std::vector<int64_t>{3, 5, 9}));
  EXPECT_TRUE(at::equal(to_image(tensor).pixels, image.pixels));
}

TEST(ImageTensor, ValuesAreClampedAndRounded) {
  const at::Tensor values = at::zeros({3, 1, 4});
  values.select(2, 0).fill_(-0.5);
  values.select(2, 1).fill_(1.5);
  values.select(2, 2).fill_(0.5019);  // 127.98
  values.select(2, 3).fill_(std::numeric_limits<float>::quiet_NaN());
  const Image image = to_image(values);
  EXPECT_EQ(colour_at(image, 0, 0)[0], 0);
  EXPECT_EQ(colour_at(image, 1, 0)[0], 255);
  EXPECT_EQ(colour_at(image, 2, 0)[0], 128);
  EXPECT_EQ(colour_at(image, 3, 0)[0], 0);
  expect_error(ErrorKind::kUsage, "expected (3, H, W)", [] { to_image(at::zeros({1, 4, 4})); });
}

}  // namespace
}  // namespace lexel
