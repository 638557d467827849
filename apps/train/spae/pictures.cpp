#include "apps/train/spae/pictures.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/data/compose/paint.h"
#include "apps/data/compose/sprites.h"
#include "kernels/check.h"
#include "kernels/philox.h"
#include "tokenizers/io/picture_source.h"
#include "tokenizers/io/preprocess.h"

namespace lexel::train {
namespace {

constexpr int64_t kPhotoSide = 640;  // longest of a kept photo, pixels
constexpr double kLeastSize = 0.6;   // of a drawing in a view, as a share of the picture's side
constexpr double kLeastCut = 0.35;   // of a photo's shorter side

std::string field(const nlohmann::json& about, const char* key) {
  const auto found = about.find(key);
  return found != about.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// Keeps the first `most` pictures of each subject: of one there are eighty drawings, of most a few.
void thin_out_subjects(std::vector<PictureBytes>& pictures, const data::WordFinder& words,
                       int64_t most) {
  std::map<std::string, int64_t> seen;
  std::erase_if(pictures, [&](const PictureBytes& picture) {
    return ++seen[words.words_of(picture.json).subject] > most;
  });
}

/// Keeps `most` pictures, spread over the list.
void thin_out(std::vector<PictureBytes>& pictures, int64_t most) {
  const auto count = static_cast<int64_t>(pictures.size());
  if (count <= most) return;
  std::vector<PictureBytes> kept;
  for (int64_t i = 0; i < most; ++i)
    kept.push_back(std::move(pictures[static_cast<size_t>(i * count / most)]));
  pictures = std::move(kept);
}

data::Rgb any_colour(Philox& random) {
  data::Rgb colour;
  for (uint8_t& level : colour) level = static_cast<uint8_t>(64 + random.uniform_int(192));
  return colour;
}

Image blank(int64_t side, const data::Rgb& colour) {
  Image image{at::empty({side, side, 3}, at::kByte)};
  auto* const pixels = image.pixels.mutable_data_ptr<uint8_t>();
  for (int64_t i = 0; i < side * side * 3; ++i) pixels[i] = colour[static_cast<size_t>(i % 3)];
  return image;
}

int64_t least_side(int64_t size) {
  return std::max<int64_t>(8, std::llround(kLeastSize * static_cast<double>(size)));
}

void decode_drawing(WordPicture& picture, int64_t side) {
  const RgbaImage drawing = data::scaled_sprite(
      decode_rgba(picture.encoded.data(), picture.encoded.size(), picture.name), side);
  data::scaled_sprite(drawing, least_side(side));  // throws where so small a one shows nothing
  picture.drawing = drawing;
}

void decode_photo(WordPicture& picture) {
  Image image = decode_image(picture.encoded.data(), picture.encoded.size(), picture.name);
  const int64_t longer = std::max(image.width(), image.height());
  if (longer > kPhotoSide) {
    const double scale = static_cast<double>(kPhotoSide) / static_cast<double>(longer);
    const auto scaled_length = [&](int64_t length) {
      return std::max<int64_t>(1, std::llround(scale * static_cast<double>(length)));
    };
    image = resize(image, scaled_length(image.height()), scaled_length(image.width()), "bicubic");
  }
  const auto* const pixels = image.pixels.const_data_ptr<uint8_t>();
  picture.photo = {image.height(), image.width(), {pixels, pixels + image.pixels.numel()}};
}

/// The picture of a number after its first use has decoded it; one that cannot be decoded stays without pixels and words.
template <class List, class Decode>
const WordPicture& decoded_once(List& list, int64_t number, const Decode& decode) {
  WordPicture& picture = list[static_cast<size_t>(number)];
  std::call_once(picture.once, [&] {
    try {
      decode(picture);
    } catch (const Error&) {  // a broken picture is no reason to end a run
      picture.words = {};
      picture.words.weight = 0.0;
    }
    picture.encoded = {};
  });
  return picture;
}

}  // namespace

WordPictures::WordPictures(const Options& options, const data::WordFinder& words)
    : options_(options) {
  std::vector<PictureBytes> drawings, photos, held_out_drawings, held_out_photos;
  PictureSource source(options.inputs);
  uint64_t hash = fnv1a("");
  for (PictureBytes picture; source.next(picture);) {
    const auto about = nlohmann::json::parse(picture.json, nullptr, /*allow_exceptions=*/false);
    if (!about.is_object()) continue;
    const bool kept_apart = field(about, "split") == "heldout";
    const std::string_view bytes(reinterpret_cast<const char*>(picture.data.data()),
                                 picture.data.size());
    hash = fnv1a(concat(hash, ' ', picture.name, ' ', fnv1a(picture.json), ' ', fnv1a(bytes)));
    if (field(about, "kind") == "photo") {
      (kept_apart ? held_out_photos : photos).push_back(std::move(picture));
      continue;
    }
    const data::PictureWords found = words.words_of(picture.json);
    if (found.names.empty() && found.others.empty()) continue;
    if (found.held_out) {
      if (found.weight == 1.0) held_out_drawings.push_back(std::move(picture));
    } else if (!kept_apart) {
      drawings.push_back(std::move(picture));
    }
  }
  check(!drawings.empty() && !held_out_drawings.empty(), ErrorKind::kUsage, "expected captioned ",
        "drawings to train on and held-out ones (lexel data fetch emoji openclipart), got ",
        drawings.size(), " and ", held_out_drawings.size());
  thin_out_subjects(held_out_drawings, words, options.of_subject);
  thin_out(held_out_drawings, options.held_out);
  thin_out(held_out_photos, options.held_out);
  const auto keep = [&](std::vector<PictureBytes>& from, bool captioned, List& to) {
    for (PictureBytes& picture : from) {
      WordPicture& kept = to.emplace_back();
      kept.name = picture.name;
      if (captioned) kept.words = words.words_of(picture.json);
      kept.encoded = std::move(picture.data);
    }
  };
  keep(drawings, true, drawings_);
  keep(photos, false, photos_);
  keep(held_out_drawings, true, held_out_drawings_);
  keep(held_out_photos, false, held_out_photos_);
  for (const std::string& word : words.words()) hash = fnv1a(concat(hash, ' ', word));
  std::ostringstream hex;
  hex << std::hex << fnv1a(concat(hash, ' ', options.image_size, ' ', options.held_out));
  fingerprint_ = hex.str();
}

const data::PictureWords& WordPictures::words_of(int64_t drawing) const {
  return drawings_[static_cast<size_t>(drawing)].words;
}

const data::PictureWords& WordPictures::words_of_held_out(int64_t drawing) const {
  return held_out_drawings_[static_cast<size_t>(drawing)].words;
}

const std::string& WordPictures::name_of_drawing(int64_t number) const {
  return drawings_[static_cast<size_t>(number)].name;
}

const std::string& WordPictures::name_of_held_out(int64_t drawing) const {
  return held_out_drawings_[static_cast<size_t>(drawing)].name;
}

const std::string& WordPictures::name_of_photo(int64_t number) const {
  return photos_[static_cast<size_t>(number)].name;
}

at::Tensor WordPictures::drawing(int64_t number, int64_t view) {
  return drawing_of(drawings_, number, view);
}
at::Tensor WordPictures::photo(int64_t number, int64_t view) {
  return photo_of(photos_, number, view);
}
at::Tensor WordPictures::held_out_drawing(int64_t number) {
  return drawing_of(held_out_drawings_, number, 0);
}
at::Tensor WordPictures::held_out_photo(int64_t number) {
  return photo_of(held_out_photos_, number, 0);
}

at::Tensor WordPictures::drawing_of(List& list, int64_t number, int64_t view) {
  const int64_t size = options_.image_size;
  const WordPicture& picture =
      decoded_once(list, number, [&](WordPicture& fresh) { decode_drawing(fresh, size); });
  Philox random(options_.seed, concat("view ", view), static_cast<uint64_t>(number));
  data::Rgb colour{255, 255, 255};
  int64_t side = size;
  if (view > 0) {
    if (random.uniform() < 0.6) colour = any_colour(random);
    const int64_t least = least_side(size);
    side = least + static_cast<int64_t>(random.uniform_int(uint64_t(size - least) + 1));
  }
  Image canvas = blank(size, colour);
  if (!picture.drawing.pixels.defined()) return to_tensor(canvas);
  const data::ScaledSprite sprite(data::scaled_sprite(picture.drawing, side));
  const auto place = [&](int64_t length) {
    const int64_t room = size - length;
    return view == 0 ? room / 2 : static_cast<int64_t>(random.uniform_int(uint64_t(room) + 1));
  };
  const int64_t left = place(sprite.width), top = place(sprite.height);
  data::paint_sprite(sprite, left, top, std::nullopt, canvas);
  return to_tensor(canvas);
}

at::Tensor WordPictures::photo_of(List& list, int64_t number, int64_t view) {
  const int64_t size = options_.image_size;
  const WordPicture& picture = decoded_once(list, number, decode_photo);
  if (picture.photo.height == 0) return at::full({3, size, size}, 1.0F);
  Philox random(options_.seed, concat("cut ", view), static_cast<uint64_t>(number));
  const auto width = static_cast<double>(picture.photo.width),
             height = static_cast<double>(picture.photo.height);
  double side = std::min(width, height);
  Box box{(width - side) / 2, (height - side) / 2, side, side};
  bool mirrored = false;
  if (view > 0) {
    side *= kLeastCut + (1.0 - kLeastCut) * random.uniform();
    box = {(width - side) * random.uniform(), (height - side) * random.uniform(), side, side};
    mirrored = random.uniform() < 0.5;
  }
  at::Tensor out = at::empty({3, size, size}, at::kFloat);
  resample(picture.photo, box, mirrored, size, size, out.mutable_data_ptr<float>());
  return out.clamp_(0.0, 1.0);
}

}  // namespace lexel::train
