#include "tokenizers/io/png_text.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "kernels/check.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel {
namespace {

using tests::expect_error;

Image small_picture() { return {at::full({3, 5, 3}, 77, at::kByte)}; }

PngText text_of(const std::vector<uint8_t>& png) {
  return read_png_text(png.data(), png.size(), "a.png");
}

/// A picture with one more chunk of any kind behind its header.
std::vector<uint8_t> with_chunk(const std::string& kind, const std::string& content) {
  std::vector<uint8_t> png = encode_image(small_picture(), "png");
  const std::string body = kind + content;
  const auto bytes = reinterpret_cast<const Bytef*>(body.data());
  const auto crc = static_cast<uint32_t>(crc32(0, bytes, static_cast<uInt>(body.size())));
  const auto big_endian = [](size_t value) {
    std::string bytes_of(4, '\0');
    for (size_t i = 0; i < 4; ++i) bytes_of[i] = static_cast<char>(value >> (24 - 8 * i));
    return bytes_of;
  };
  const std::string chunk = concat(big_endian(content.size()), body, big_endian(crc));
  png.insert(png.begin() + 33, chunk.begin(), chunk.end());
  return png;
}

const std::string kZero(1, '\0');
const std::string kFiveZeros(5, '\0');

std::string deflated(const std::string& text) {
  uLongf bytes = compressBound(text.size());
  std::string out(bytes, '\0');
  compress(reinterpret_cast<Bytef*>(out.data()), &bytes,
           reinterpret_cast<const Bytef*>(text.data()), text.size());
  out.resize(bytes);
  return out;
}

TEST(PngText, ComesBackInAnyScriptAndThePixelsStay) {
  const PngText text = {{"Description", "a red fish, 红色的鱼, рыба \xF0\x9F\x90\x9F\nsecond line"},
                        {"Software", "Lexel"},
                        {"Empty", ""}};
  const std::vector<uint8_t> png = encode_png(small_picture(), text);
  EXPECT_EQ(text_of(png), text);
  const Image image = decode_image(png.data(), png.size(), "a.png");
  EXPECT_TRUE(at::equal(image.pixels, small_picture().pixels));
}

TEST(PngText, TheSameArgumentsGiveTheSameFile) {
  const tests::TemporaryFolder folder;
  const std::string path = (folder / "a.png").string();
  write_png(path, small_picture(), {{"b", "2"}, {"a", "1"}});
  EXPECT_EQ(read_file(path, 1 << 20), encode_png(small_picture(), {{"a", "1"}, {"b", "2"}}));
  expect_error(ErrorKind::kIo, "cannot be written",
               [&] { write_png((folder / "no/a.png").string(), small_picture(), {}); });
}

TEST(PngText, WithoutTextThereIsNone) {
  EXPECT_TRUE(text_of(encode_image(small_picture(), "png")).empty());
  EXPECT_TRUE(text_of(encode_image(small_picture(), "jpeg")).empty());
  EXPECT_TRUE(text_of({}).empty());
}

TEST(PngText, OtherProgramsChunksAreReadAsUtf8) {
  EXPECT_EQ(text_of(with_chunk("tEXt", concat("Author", kZero, "Andr\xE9"))).at("Author"),
            "Andr\u00e9");
  EXPECT_EQ(text_of(with_chunk("zTXt", concat("Note", kZero, kZero, deflated("long")))).at("Note"),
            "long");
  const std::string head = concat("Note", kZero, "\1", kZero, "en", kZero, kZero);
  EXPECT_EQ(text_of(with_chunk("iTXt", concat(head, deflated("gr\xC3\xBCn")))).at("Note"),
            "gr\u00fcn");
  // An iTXt that is not UTF-8 is taken for Latin-1.
  EXPECT_EQ(text_of(with_chunk("iTXt", concat("Note", kFiveZeros, "gr\xFCn"))).at("Note"),
            "gr\u00fcn");
}

TEST(PngText, OfOneKeywordTheFirstCounts) {
  const std::vector<uint8_t> second = with_chunk("tEXt", concat("k", kZero, "second"));
  std::vector<uint8_t> both = with_chunk("tEXt", concat("k", kZero, "first"));
  const long chunk = 12 + 2 + 6;
  both.insert(both.begin() + 33 + 12 + 2 + 5, second.begin() + 33, second.begin() + 33 + chunk);
  EXPECT_EQ(text_of(both), (PngText{{"k", "first"}}));
}

TEST(PngText, ATextThatInflatesPastTheLimitIsPassedOver) {
  const std::string bomb = deflated(std::string(size_t{64} << 20, 'x'));
  ASSERT_LT(bomb.size(), 100'000u);
  const std::vector<uint8_t> png = with_chunk("zTXt", concat("bomb", kZero, kZero, bomb));
  EXPECT_TRUE(text_of(png).empty());
  EXPECT_EQ(decode_image(png.data(), png.size(), "a.png").width(), 5);
}

TEST(PngText, UnsoundFilesNeverDoHarm) {
  const std::vector<uint8_t> png = encode_png(small_picture(), {{"Description", "a fish"}});
  for (size_t bytes = 0; bytes < png.size(); ++bytes) {
    const std::vector<uint8_t> cut(png.begin(), png.begin() + static_cast<long>(bytes));
    try {
      text_of(cut);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadData);
    }
  }
  for (size_t i = 0; i < png.size(); ++i) {
    std::vector<uint8_t> flipped = png;
    flipped[i] ^= 0x41;
    try {
      text_of(flipped);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadData);
    }
  }
  expect_error(ErrorKind::kBadData, "a.png",
               [&] { text_of(std::vector<uint8_t>(png.begin(), png.begin() + 40)); });
}

TEST(PngText, RefusesKeywordsAndTextsThatCannotBe) {
  for (const std::string keyword : {"", " a", "a ", "a  b", "a\tb", "gr\xC3\xBCn"}) {
    expect_error(ErrorKind::kUsage, "keyword", [&] {
      encode_png(small_picture(), {{keyword, ""}});
    });
  }
  expect_error(ErrorKind::kUsage, "keyword", [&] {
    encode_png(small_picture(), {{std::string(80, 'k'), ""}});
  });
  expect_error(ErrorKind::kUsage, "zero byte", [&] {
    encode_png(small_picture(), {{"k", kZero}});
  });
  expect_error(ErrorKind::kUsage, "not UTF-8", [&] {
    encode_png(small_picture(), {{"k", "\xFF"}});
  });
  expect_error(ErrorKind::kUsage, "bytes", [&] {
    encode_png(small_picture(), {{"k", std::string(kMaxPngTextBytes + 1, 'x')}});
  });
}

}  // namespace
}  // namespace lexel
