#include "apps/data/compose/sprites.h"

#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/cat.h>
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "tokenizers/io/picture_source.h"

namespace lexel::data {
namespace {

constexpr int64_t kMaxSide = 1024;  // pixels
constexpr uint8_t kVisibleAlpha =
    16;  // what is fainter is dropped, so that boxes are what one sees

// A sprite as its member describes it.
struct Described {
  std::string name, plural, drawing;
  bool tintable;
};

Described describe(const PictureBytes& member) {
  check(!member.json.empty(), ErrorKind::kBadData, member.name, ": has no json beside it");
  try {
    const nlohmann::json json = nlohmann::json::parse(member.json);
    Described what{json.at("name"), json.at("plural"), json.at("drawing"), json.at("tintable")};
    check(!what.name.empty() && !what.plural.empty() && !what.drawing.empty(), ErrorKind::kBadData,
          member.name, ": expected a name, a plural and a drawing that are not empty");
    return what;
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::kBadData, member.name, ": its json: ", error.what());
  }
}

}  // namespace

RgbaImage visible_part(const RgbaImage& picture) {
  const int64_t height = picture.height(), width = picture.width();
  const uint8_t* rgba = picture.pixels.data_ptr<uint8_t>();
  int64_t left = width, right = -1, top = height, bottom = -1;
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      if (rgba[4 * (y * width + x) + 3] < kVisibleAlpha) continue;
      left = std::min(left, x), right = std::max(right, x);
      top = std::min(top, y), bottom = std::max(bottom, y);
    }
  }
  check(right >= 0, ErrorKind::kBadData, "nothing in the picture is visible");
  RgbaImage part{picture.pixels.narrow(0, top, bottom - top + 1)
                     .narrow(1, left, right - left + 1)
                     .clone(at::MemoryFormat::Contiguous)};
  uint8_t* kept = part.pixels.data_ptr<uint8_t>();
  for (int64_t i = 0; i < part.height() * part.width(); ++i) {
    if (kept[4 * i + 3] < kVisibleAlpha) kept[4 * i + 3] = 0;
  }
  return part;
}

std::vector<SpriteThing> read_sprites(const std::string& tar) {
  std::map<std::string, SpriteThing> things;
  PictureSource source({tar});
  for (PictureBytes member; source.next(member);) {
    const Described what = describe(member);
    const ImageHeader header =
        read_image_header(member.data.data(), member.data.size(), member.name);
    check(header.width <= kMaxSide && header.height <= kMaxSide, ErrorKind::kBadData, member.name,
          ": expected at most ", kMaxSide, " pixels a side, got ", header.width, " x ",
          header.height);
    const RgbaImage whole = decode_rgba(member.data.data(), member.data.size(), member.name);
    SpriteThing& thing = things[what.name];
    check(thing.plural.empty() || thing.plural == what.plural, ErrorKind::kBadData, member.name,
          ": ", what.name, " has two plurals, ", thing.plural, " and ", what.plural);
    thing.name = what.name;
    thing.plural = what.plural;
    thing.tintable = what.tintable;
    try {
      thing.drawings.push_back({what.drawing, visible_part(whole)});
    } catch (const Error& error) {
      fail(error.kind(), member.name, ": ", error.what());
    }
  }
  check(!things.empty(), ErrorKind::kBadData, tar,
        ": has no sprites; `lexel data fetch sprites` makes such a tar");
  std::vector<SpriteThing> sorted;
  for (auto& [name, thing] : things) {
    std::ranges::sort(thing.drawings, {}, &Sprite::drawing);
    sorted.push_back(std::move(thing));
  }
  return sorted;
}

RgbaImage scaled_sprite(const RgbaImage& picture, int64_t side) {
  check_arg(side >= 1 && side <= 4096, "scaled_sprite", "expected a side of 1 to 4096, got ", side);
  const double scale =
      static_cast<double>(side) / static_cast<double>(std::max(picture.width(), picture.height()));
  const auto scaled = [&](int64_t length) {
    return std::max<int64_t>(1, std::llround(scale * static_cast<double>(length)));
  };
  const at::Tensor levels = picture.pixels.permute({2, 0, 1}).to(at::kFloat);  // (4, H, W)
  const at::Tensor alpha = levels.narrow(0, 3, 1).div(255);
  const at::Tensor premultiplied = at::cat({levels.narrow(0, 0, 3).mul(alpha), alpha}, 0);
  const at::Tensor small =
      at::_upsample_bicubic2d_aa(premultiplied.unsqueeze(0).contiguous(),
                                 {scaled(picture.height()), scaled(picture.width())}, false)
          .squeeze(0);  // (4, h, w)
  // Bicubic overshoots colour and alpha alike: their ratio is the colour.
  const at::Tensor cover = small.narrow(0, 3, 1);
  const at::Tensor colours = small.narrow(0, 0, 3).div(cover.clamp_min(1e-3)).clamp(0, 255);
  const at::Tensor rgba = at::cat({colours, cover.clamp(0, 1).mul(255)}, 0).round().to(at::kByte);
  return visible_part({rgba.permute({1, 2, 0}).contiguous()});
}

}  // namespace lexel::data
