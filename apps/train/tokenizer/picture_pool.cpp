#include "apps/train/tokenizer/picture_pool.h"

#include <ATen/ops/empty.h>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <sstream>

#include "apps/train/found_pictures.h"
#include "kernels/check.h"
#include "kernels/philox.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/preprocess.h"

namespace lexel::train {
namespace {

constexpr double kPyramid = 4.0 / 3.0;  // pixels of all levels over those of the first

/// The longest side at which all pictures fit into the memory.
int64_t fitting_side(const std::vector<FoundPicture>& found, int64_t max_side,
                     int64_t cache_bytes) {
  for (int64_t side = max_side;; side = side * 9 / 10) {
    double bytes = 0;
    for (const FoundPicture& one : found) {
      if (one.held_out) continue;
      const double scale = std::min(1.0, double(side) / double(std::max(one.width, one.height)));
      bytes += 3.0 * kPyramid * double(one.width) * double(one.height) * scale * scale;
    }
    if (bytes <= double(cache_bytes)) return side;
    check(side > 128, ErrorKind::kUsage, "the cache of ", cache_bytes >> 20,
          " MiB is too small for ", found.size(), " pictures");
  }
}

/// Some of `pictures`, spread evenly, as (n, 3, S, S) uint8.
HeldOutSet held_out_set(const std::string& name, const std::vector<const FoundPicture*>& pictures,
                        const DataOptions& options, std::vector<std::string>& skipped) {
  HeldOutSet set{name, int64_t(pictures.size()), {}};
  const Preprocess preprocess{options.model_size, "crop", "bicubic"};
  const int64_t wanted = std::min<int64_t>(set.pictures, options.held_out_pictures);
  set.images = at::empty({wanted, 3, options.model_size, options.model_size}, at::kByte);
  int64_t count = 0;
  for (int64_t i = 0; i < wanted; ++i) {
    const PictureBytes& bytes = pictures[i * set.pictures / wanted]->bytes;
    try {
      const Image image = decode_image(bytes.data.data(), bytes.data.size(), bytes.name);
      const at::Tensor square = prepare(image, preprocess).tiles[0];  // (3, S, S)
      set.images[count].copy_(square.mul(255.0).round());
      ++count;
    } catch (const Error& error) {
      skipped.push_back(error.what());
    }
  }
  set.images = set.images.slice(0, 0, count);
  return set;
}

std::string held_out_name(const std::string& set) {
  for (const char* sharp : {"skimage", "scikit-image", "opencv"}) {
    if (set.find(sharp) != std::string::npos) return "sharp photos";
  }
  return set;
}

/// A hash over names and bytes, in hex.
std::string fingerprint_of(const std::vector<FoundPicture>& found) {
  uint64_t hash = fnv1a("");
  for (const FoundPicture& one : found) {
    const std::string_view data(reinterpret_cast<const char*>(one.bytes.data.data()),
                                one.bytes.data.size());
    hash = fnv1a(concat(hash, ' ', one.bytes.name, ' ', fnv1a(data)));
  }
  std::ostringstream hex;
  hex << std::hex << hash;
  return hex.str();
}

}  // namespace

const std::vector<Pixels>& PicturePool::levels(int64_t index) {
  PooledPicture& picture = pictures[index];
  std::call_once(picture.once, [&] {
    try {
      const Image image =
          decode_image(picture.encoded.data(), picture.encoded.size(), picture.name);
      Pixels full{image.height(), image.width(), {}};
      const auto* data = image.pixels.const_data_ptr<uint8_t>();
      full.rgb.assign(data, data + image.pixels.numel());
      const double scale = double(max_side) / double(std::max(full.height, full.width));
      if (scale < 1.0) {
        full = scaled(full, std::max<int64_t>(1, std::llround(scale * double(full.height))),
                      std::max<int64_t>(1, std::llround(scale * double(full.width))));
      }
      picture.levels.push_back(std::move(full));
      while (std::min(picture.levels.back().height, picture.levels.back().width) >=
             2 * model_size) {
        picture.levels.push_back(halved(picture.levels.back()));
      }
    } catch (const Error& error) {
      picture.error = error.what();
      picture.levels.clear();
    }
    std::vector<uint8_t>().swap(picture.encoded);
  });
  return picture.levels;
}

void read_training_data(const DataOptions& options, TrainingData& data) {
  PicturePool& pool = data.pool;
  pool.model_size = options.model_size;
  std::vector<FoundPicture> found = find_pictures(options.inputs, options.min_side, pool.skipped);
  pool.fingerprint = fingerprint_of(found);
  pool.max_side = fitting_side(found, options.max_side, options.cache_bytes);

  std::map<std::string, std::vector<const FoundPicture*>> held_out;
  std::map<std::string, int64_t> set_index;
  for (FoundPicture& one : found) {
    if (one.held_out) {
      held_out[held_out_name(one.set)].push_back(&one);
      continue;
    }
    const auto [entry, fresh] = set_index.emplace(one.set, pool.sets.size());
    if (fresh) pool.sets.push_back({one.set, 0});
    ++pool.sets[entry->second].pictures;
    PooledPicture& picture = pool.pictures.emplace_back();
    picture.name = one.bytes.name;
    picture.set = entry->second;
    picture.encoded = std::move(one.bytes.data);
  }
  check(!pool.pictures.empty(), ErrorKind::kUsage, "no picture to train on (", pool.skipped.size(),
        " skipped", pool.skipped.empty() ? "" : ", the first: " + pool.skipped.front(), ")");
  for (const auto& [name, pictures] : held_out) {
    data.held_out.push_back(held_out_set(name, pictures, options, pool.skipped));
  }
}

}  // namespace lexel::train
