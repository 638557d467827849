#include "apps/data/compose/backdrop.h"

#include <ATen/ops/empty.h>
#include <algorithm>
#include <array>

#include "apps/data/compose/colours.h"
#include "kernels/check.h"
#include "tokenizers/io/picture_source.h"
#include "tokenizers/io/preprocess.h"
#include "tokenizers/io/sha256.h"

namespace lexel::data {
namespace {

using Rgb = std::array<uint8_t, 3>;

const Colour& colour_named(const std::string& name) {
  const auto& all = background_colours();
  const auto found =
      std::ranges::find_if(all, [&](const Colour& colour) { return colour.name == name; });
  check(found != all.end(), ErrorKind::kInternal, "no background colour ", name);
  return *found;
}

void paint_rows(const Colour& from, const Rgb& to, int64_t canvas, uint8_t* out) {
  const int64_t last = canvas - 1;
  for (int64_t y = 0; y < canvas; ++y) {
    Rgb colour;
    for (size_t c = 0; c < 3; ++c)
      colour[c] = static_cast<uint8_t>((from.rgb[c] * (last - y) + to[c] * y + last / 2) / last);
    for (int64_t x = 0; x < canvas; ++x, out += 3) std::copy_n(colour.data(), 3, out);
  }
}

// The middle square, at the canvas's size.
Image middle(const Image& image, int64_t canvas) {
  const int64_t side = std::min(image.width(), image.height());
  const Image square{image.pixels.narrow(0, (image.height() - side) / 2, side)
                         .narrow(1, (image.width() - side) / 2, side)
                         .contiguous()};
  return resize(square, canvas, canvas, "bicubic");
}

}  // namespace

Photos Photos::read(const std::vector<std::string>& inputs, int64_t most, int64_t canvas) {
  Photos result;
  if (inputs.empty()) return result;
  int64_t total = 0;
  {
    PictureSource source(inputs);
    for (PictureBytes member; source.next(member);) ++total;
  }
  check(total > 0, ErrorKind::kBadData, inputs.front(), ": has no picture for a background");
  const int64_t used = std::min(most, total);
  std::string identity;
  PictureSource source(inputs);
  int64_t number = 0;
  for (PictureBytes member; source.next(member); ++number) {
    // Of `total` the first of each of `used` even parts.
    if (number * used % total >= used) continue;
    const Image image = decode_image(member.data.data(), member.data.size(), member.name);
    result.photos.push_back({member.name, middle(image, canvas)});
    identity += member.name + " " + sha256(member.data.data(), member.data.size()) + "\n";
  }
  result.fingerprint = sha256(identity.data(), identity.size());
  return result;
}

Image paint_background(const Background& background, const Photos& photos, int64_t canvas) {
  if (background.kind == BackgroundKind::kPhoto) {
    const auto found = std::ranges::find(photos.photos, background.photo, &Photos::Photo::name);
    check(found != photos.photos.end(), ErrorKind::kInternal, "no photo ", background.photo);
    return {found->picture.pixels.clone()};
  }
  Image picture{at::empty({canvas, canvas, 3}, at::kByte)};
  const Colour& colour = colour_named(background.colour);
  const bool plain = background.kind == BackgroundKind::kPlain;
  paint_rows(colour, plain ? colour.rgb : gradient_end(colour), canvas,
             picture.pixels.data_ptr<uint8_t>());
  return picture;
}

}  // namespace lexel::data
