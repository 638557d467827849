#include "apps/train/tokenizer/pack.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/train/found_pictures.h"
#include "apps/train/schedule.h"
#include "apps/train/tokenizer/recipe.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/jpeg.h"
#include "tokenizers/io/preprocess.h"

namespace lexel::train {
namespace {

constexpr int kQuality = 90;
constexpr int64_t kProbes = 24;         // pictures of a set that its sizes are estimated from
constexpr int64_t kTarBlock = 512;      // bytes
constexpr double kSmallestSides = 3.0;  // times the model's size: below, pictures stay out instead
constexpr double kStep = 0.85;          // between sides that are tried
constexpr int64_t kMiB = 1 << 20;

struct Set {
  std::string name;
  double weight = 1.0;  // of one picture
  std::vector<const FoundPicture*> train, held_out;
  int64_t side = 0;    // longest, pixels
  int64_t packed = 0;  // pictures of `train` that are in
  int64_t bytes = 0;
  double share() const { return weight * double(train.size()); }
};

/// What a tar takes for a sample: two members, each a block of header and padded to blocks.
int64_t tar_bytes(size_t picture, size_t json) {
  const auto padded = [](size_t bytes) {
    return kTarBlock + (int64_t(bytes) + kTarBlock - 1) / kTarBlock * kTarBlock;
  };
  return padded(picture) + padded(json);
}

struct Sample {
  std::vector<uint8_t> data;
  std::string extension, json;
  int64_t bytes() const { return tar_bytes(data.size(), json.size()); }
};

std::string describe(const FoundPicture& picture, int64_t width, int64_t height) {
  auto json = nlohmann::json::parse(picture.bytes.json, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) json = {{"source", picture.bytes.name}};
  json["set"] = picture.set;
  json["split"] = picture.held_out ? "heldout" : "train";
  json["width"] = width;
  json["height"] = height;
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// A training picture at a longest side of `side`; a JPEG that is small enough stays as it is.
Sample train_sample(const FoundPicture& picture, int64_t side) {
  const PictureBytes& from = picture.bytes;
  const Image image = decode_image(from.data.data(), from.data.size(), from.name);
  const double scale = double(side) / double(std::max(image.width(), image.height()));
  const auto scaled = [&](int64_t length) {
    return std::max<int64_t>(1, std::llround(std::min(1.0, scale) * double(length)));
  };
  const int64_t height = scaled(image.height()), width = scaled(image.width());
  Sample sample{
      encode_jpeg(scale < 1.0 ? resize(image, height, width, "bicubic") : image, kQuality), ".jpg",
      describe(picture, width, height)};
  const std::string format =
      read_image_header(from.data.data(), from.data.size(), from.name).format;
  if (scale >= 1.0 && from.data.size() <= sample.data.size() &&
      (format == "jpeg" || format == "png")) {
    sample.data = from.data;
    if (format == "png") sample.extension = ".png";
  }
  return sample;
}

/// What an evaluation would make of a held-out picture, without loss.
Sample held_out_sample(const FoundPicture& picture, int64_t size) {
  const PictureBytes& from = picture.bytes;
  const Image image = decode_image(from.data.data(), from.data.size(), from.name);
  const Image square = to_image(prepare(image, {size, "crop", "bicubic"}).tiles[0]);
  return {encode_image(square, "webp"), ".webp", describe(picture, size, size)};
}

/// Writes samples with running keys and counts their bytes.
class Packer {
 public:
  explicit Packer(const std::string& path) : tar_(path) {}
  void add(const Sample& sample) {
    std::ostringstream key;
    key.fill('0');
    key.width(6);
    key << count_++;
    tar_.add(key.str() + sample.extension, sample.data.data(), sample.data.size());
    tar_.add(key.str() + ".json", reinterpret_cast<const uint8_t*>(sample.json.data()),
             sample.json.size());
    bytes_ += sample.bytes();
  }
  void close() { tar_.close(); }
  int64_t bytes() const { return bytes_; }

 private:
  TarWriter tar_;
  int64_t count_ = 0, bytes_ = 0;
};

/// `count` of a set's pictures, spread evenly.
std::vector<const FoundPicture*> spread(const std::vector<const FoundPicture*>& all,
                                        int64_t count) {
  std::vector<const FoundPicture*> chosen;
  const int64_t total = int64_t(all.size());
  for (int64_t i = 0; i < std::min(count, total); ++i) {
    chosen.push_back(all[size_t(i * total / std::min(count, total))]);
  }
  return chosen;
}

/// Bytes that the whole set would take at a side, from some of its pictures.
double estimate(const Set& set, int64_t side) {
  double bytes = 0.0;
  int64_t good = 0;
  for (const FoundPicture* picture : spread(set.train, kProbes)) {
    try {
      bytes += double(train_sample(*picture, side).bytes());
      ++good;
    } catch (const Error&) {  // a broken picture; the packing names it
    }
  }
  return good == 0 ? 0.0 : bytes / double(good) * double(set.train.size());
}

/// Packs the training pictures of one set into at most `budget` bytes.
void pack_set(Set& set, int64_t budget, int64_t smallest_side, int64_t largest_side, Packer& packer,
              std::ostream& log) {
  double need = 0.0;
  for (set.side = largest_side;;
       set.side = std::max(smallest_side, int64_t(kStep * double(set.side)))) {
    need = estimate(set, set.side);
    if (need <= 0.95 * double(budget) || set.side <= smallest_side) break;
  }
  const double fitting = need > 0.0 ? 0.95 * double(budget) / need : 1.0;
  const int64_t count =
      std::max<int64_t>(1, int64_t(std::min(1.0, fitting) * double(set.train.size())));
  for (const FoundPicture* picture : spread(set.train, count)) {
    try {
      const Sample sample = train_sample(*picture, set.side);
      if (set.bytes + sample.bytes() > budget) continue;
      packer.add(sample);
      set.bytes += sample.bytes();
      ++set.packed;
    } catch (const Error& error) {
      log << set.name << ": left out: " << error.what() << "\n";
    }
  }
  check(set.packed > 0, ErrorKind::kUsage, "the budget is too small: ", budget,
        " bytes for the set ", set.name);
}

std::string in_mib(int64_t bytes) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  text.precision(1);
  text << double(bytes) / double(kMiB) << " MiB";
  return text.str();
}

std::vector<Set> sets_of(const std::vector<FoundPicture>& found, const TrainRecipe& recipe,
                         std::ostream& log) {
  std::map<std::string, Set> by_name;
  for (const FoundPicture& one : found) {
    Set& set = by_name[one.set];
    set.name = one.set;
    (one.held_out ? set.held_out : set.train).push_back(&one);
  }
  const auto weights = parse_weights(recipe.mixture, "mixture");
  for (const auto& [name, weight] : weights) {
    check(by_name.count(name) > 0 && !by_name[name].train.empty(), ErrorKind::kUsage,
          "mixture: no set '", name, "' in the data");
    by_name[name].weight = weight;
  }
  std::vector<Set> sets;
  for (auto& [name, set] : by_name) {
    if (!weights.empty() && weights.count(name) == 0 && !set.train.empty()) {
      log << name << ": left out, the recipe's mixture does not name it\n";
      continue;
    }
    sets.push_back(std::move(set));
  }
  return sets;
}

}  // namespace

void pack_training(const cli::TrainPackOptions& options, std::ostream& log) {
  TrainRecipe recipe = read_recipe(options.recipe);
  const int64_t size = recipe.model.image_size;
  std::error_code error;
  std::filesystem::create_directories(options.output, error);
  check(!error, ErrorKind::kIo, options.output, ": ", error.message());

  std::vector<std::string> skipped;
  const std::vector<FoundPicture> found = find_pictures(options.data, recipe.min_side, skipped);
  if (!skipped.empty()) {
    log << "left out " << skipped.size() << ", the first: " << skipped.front() << "\n";
  }
  std::vector<Set> sets = sets_of(found, recipe, log);

  int64_t left = options.max_mb * kMiB - 2 * kTarBlock;
  if (recipe.losses.perceptual > 0) {
    const std::vector<uint8_t> net = read_file(recipe.perceptual, 1 << 30);
    left -= int64_t(net.size());
    write_file(options.output + "/perceptual.pth", std::string(net.begin(), net.end()));
    recipe.perceptual = "perceptual.pth";
  } else {
    recipe.perceptual.clear();
  }

  Packer packer(options.output + "/data.tar");
  for (const Set& set : sets) {
    const auto chosen = spread(set.held_out, std::min(options.held_out, recipe.eval_pictures));
    const int64_t before = packer.bytes();
    for (const FoundPicture* picture : chosen) packer.add(held_out_sample(*picture, size));
    if (chosen.empty()) continue;
    log << set.name << ": held out " << chosen.size() << " of " << set.held_out.size() << ", "
        << in_mib(packer.bytes() - before) << "\n";
  }
  left -= packer.bytes();
  check(left > 0, ErrorKind::kUsage, "the budget of ", options.max_mb,
        " MiB is too small: held-out pictures and perceptual net alone take ",
        in_mib(options.max_mb * kMiB - left));

  // Sets that need little for their share first: what they leave goes to the others.
  std::erase_if(sets, [](const Set& set) { return set.train.empty() || set.weight == 0.0; });
  check(!sets.empty(), ErrorKind::kUsage, "no picture to train on");
  std::map<std::string, double> need_of_share;
  double shares = 0.0;
  for (const Set& set : sets) {
    need_of_share[set.name] =
        estimate(set, std::min(recipe.max_side, options.max_side)) / set.share();
    shares += set.share();
  }
  std::ranges::sort(sets, {}, [&](const Set& set) { return need_of_share[set.name]; });
  std::ostringstream mixture;
  for (Set& set : sets) {
    const double share = set.share() / shares;
    pack_set(set, int64_t(double(left) * share), int64_t(kSmallestSides * double(size)),
             std::min(recipe.max_side, options.max_side), packer, log);
    left -= set.bytes;
    shares -= set.share();
    mixture << (mixture.tellp() > 0 ? " " : "") << set.name << "="
            << set.share() / double(set.packed);
    log << set.name << ": " << set.packed << " of " << set.train.size() << " at " << set.side
        << " pixels, " << in_mib(set.bytes) << "\n";
  }
  packer.close();
  recipe.mixture = mixture.str();
  write_file(options.output + "/recipe.json", to_json(recipe));
  log << options.output << "/data.tar: " << in_mib(packer.bytes()) << "\n";
}

}  // namespace lexel::train

int lexel::cli::run_train_pack(const TrainPackOptions& options) {
  std::ostringstream unread;
  train::pack_training(options, options.quiet ? static_cast<std::ostream&>(unread) : std::cerr);
  return 0;
}
