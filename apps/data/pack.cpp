#include "apps/data/pack.h"

#include <ATen/ops/empty.h>
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fnmatch.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <vector>
#include <zlib.h>

#include "apps/data/captions.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/picture_source.h"
#include "tokenizers/io/preprocess.h"
#include "tokenizers/io/sha256.h"

namespace lexel::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxSide = 1536, kMinSide = 16;  // pixels
constexpr int64_t kMaxTarBytes = 256 << 20;
constexpr int64_t kMaxPictureBytes = 1LL << 29;

struct Candidate {
  std::string path;    // on disk
  std::string source;  // PACKAGE/path
  const Rule* rule;
};

// Tars of one split, a new one after each kMaxTarBytes.
class Shards {
 public:
  Shards(const std::string& output, const std::string& name) : prefix_(output + "/" + name + "-") {}

  void add(const std::string& key, const std::string& extension,
           const std::vector<uint8_t>& picture, const nlohmann::json& about) {
    if (!tar_ || tar_bytes_ > kMaxTarBytes) next();
    const std::string json = about.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    tar_->add(key + extension, picture.data(), picture.size());
    tar_->add(key + ".json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
    tar_bytes_ += static_cast<int64_t>(picture.size() + json.size());
  }

  int64_t close() {
    if (tar_) tar_->close();
    tar_.reset();
    // Tars of an earlier, longer run would be read with the new ones.
    for (int i = count_; fs::remove(path(i)); ++i) {
    }
    int64_t bytes = 0;
    for (int i = 0; i < count_; ++i) bytes += static_cast<int64_t>(fs::file_size(path(i)));
    return bytes;
  }

 private:
  std::string path(int number) const {
    std::string digits = std::to_string(number);
    return prefix_ + std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits + ".tar";
  }
  void next() {
    if (tar_) tar_->close();
    tar_ = std::make_unique<TarWriter>(path(count_++));
    tar_bytes_ = 0;
  }

  std::string prefix_;
  std::unique_ptr<TarWriter> tar_;
  int count_ = 0;
  int64_t tar_bytes_ = 0;
};

bool is_picture(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png" ||
         extension == ".webp" || extension == ".gif";
}

const Rule* matching_rule(const DataSet& set, const std::string& package, const std::string& path) {
  const auto matches = [&](const Rule& rule) {
    return rule.package == package && ::fnmatch(rule.pattern.c_str(), path.c_str(), 0) == 0;
  };
  const auto found = std::ranges::find_if(set.rules, matches);
  return found == set.rules.end() || found->kind.empty() ? nullptr : &*found;
}

int64_t area(const std::string& path) {
  const std::vector<uint8_t> data = read_file(path, kMaxPictureBytes);
  const ImageHeader header = read_image_header(data.data(), data.size(), path);
  return header.width * header.height;
}

// Sorted by source, so that the tars do not depend on the order of a folder.
std::vector<Candidate> find_candidates(const DataSet& set,
                                       const std::map<std::string, std::string>& roots) {
  std::vector<Candidate> found;
  for (const std::string& package : set.packages) {
    const fs::path root = roots.at(package);
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
      if (entry.is_symlink() || !entry.is_regular_file() || !is_picture(entry.path())) continue;
      const std::string path = entry.path().lexically_relative(root).string();
      const Rule* rule = matching_rule(set, package, path);
      if (rule) found.push_back({entry.path().string(), package + "/" + path, rule});
    }
  }
  std::ranges::sort(found, {}, &Candidate::source);
  std::vector<Candidate> result;
  std::map<fs::path, std::pair<size_t, int64_t>> largest;  // of a folder: place in result, area
  for (const Candidate& candidate : found) {
    if (!candidate.rule->largest_only) {
      result.push_back(candidate);
      continue;
    }
    const int64_t pixels = area(candidate.path);
    const auto [at, is_new] =
        largest.try_emplace(fs::path(candidate.path).parent_path(), result.size(), pixels);
    if (is_new) {
      result.push_back(candidate);
    } else if (pixels > at->second.second) {
      result[at->second.first] = candidate;
      at->second.second = pixels;
    }
  }
  return result;
}

std::string family_of(const Candidate& candidate) {
  switch (candidate.rule->family) {
    case Family::kFirstWord:
      return first_word(candidate.path);
    case Family::kWallpaper: {  // .../NAME/contents/images/FILE
      const fs::path source(candidate.source);
      return source.parent_path().parent_path().parent_path().filename().string();
    }
    case Family::kCodePoint: {
      const std::string emoji = emoji_of_file_name(candidate.path);
      size_t length = 1;  // of the first code point: bytes that continue it start with 10
      while (length < emoji.size() && (emoji[length] & 0xC0) == 0x80) ++length;
      return emoji.empty() ? candidate.source : emoji.substr(0, length);
    }
    case Family::kFile:
      break;
  }
  return candidate.source;
}

class Captions {
 public:
  Captions(const DataSet& set, const std::map<std::string, std::string>& roots) : roots_(roots) {
    const auto named = [](const Rule& rule) { return rule.caption == Caption::kCodePoints; };
    if (std::ranges::any_of(set.rules, named)) {
      emoji_names_ = read_emoji_names(roots.at("unicode-cldr-core"));
      emoji_keywords_ = read_emoji_keywords(roots.at("unicode-cldr-core"));
    }
  }

  std::string of(const Candidate& candidate) const {
    const fs::path path(candidate.path);
    switch (candidate.rule->caption) {
      case Caption::kFileName:
        return words_of_file_name(candidate.path);
      case Caption::kSidecar:
        return sidecar_caption(fs::path(path).replace_extension(".txt").string());
      case Caption::kOpenclipart: {
        const std::string svg = svg_of(candidate);
        return svg.empty() ? words_of_file_name(candidate.path) : svg_caption(svg);
      }
      case Caption::kCodePoints: {
        const auto name = emoji_names_.find(emoji_of_file_name(candidate.path));
        return name == emoji_names_.end() ? "" : name->second;
      }
      case Caption::kNone:
        break;
    }
    return "";
  }

  /// What else the package files it under, in lower case; most packages say nothing.
  std::vector<std::string> keywords_of(const Candidate& candidate) const {
    if (candidate.rule->caption == Caption::kOpenclipart) return svg_keywords(svg_of(candidate));
    if (candidate.rule->caption != Caption::kCodePoints) return {};
    const auto found = emoji_keywords_.find(emoji_of_file_name(candidate.path));
    return found == emoji_keywords_.end() ? std::vector<std::string>() : found->second;
  }

 private:
  /// The text of the SVG that a PNG of Openclipart was drawn from; empty where there is none.
  std::string svg_of(const Candidate& candidate) const {
    const fs::path below =
        fs::path(candidate.path)
            .lexically_relative(roots_.at("openclipart-png") + "/usr/share/openclipart/png");
    const fs::path svg = fs::path(roots_.at("openclipart-svg")) / "usr/share/openclipart/svg" /
                         fs::path(below).replace_extension(".svg");
    if (!fs::exists(svg)) return "";
    const std::vector<uint8_t> text = read_file(svg.string(), kMaxPictureBytes);
    return {text.begin(), text.end()};
  }

  const std::map<std::string, std::string>& roots_;
  std::map<std::string, std::string> emoji_names_;
  std::map<std::string, std::vector<std::string>> emoji_keywords_;
};

struct Encoded {
  std::vector<uint8_t> data;
  std::string extension;
  int64_t width, height;
};

// The file as it is where it is small enough, of a format that every reader knows, and decodes.
Encoded to_store(std::vector<uint8_t> data, const Candidate& candidate) {
  const Image image = decode_image(data.data(), data.size(), candidate.source);
  const int64_t longer = std::max(image.width(), image.height()),
                shorter = std::min(image.width(), image.height());
  check(shorter >= kMinSide, ErrorKind::kBadData, candidate.source, ": has ", image.width(), " x ",
        image.height(), " pixels, expected at least ", kMinSide, " a side");
  const std::string format = read_image_header(data.data(), data.size(), candidate.source).format;
  if (longer <= kMaxSide && (format == "jpeg" || format == "png")) {
    return {std::move(data), format == "jpeg" ? ".jpg" : ".png", image.width(), image.height()};
  }
  Image stored = image;
  if (longer > kMaxSide) {
    const double scale = static_cast<double>(kMaxSide) / static_cast<double>(longer);
    const auto scaled = [&](int64_t side) {
      return std::max<int64_t>(1, std::llround(scale * static_cast<double>(side)));
    };
    stored = resize(image, scaled(image.height()), scaled(image.width()), "bicubic");
  }
  const bool jpeg =
      (candidate.rule->kind == "photo" || candidate.rule->kind == "art") && format != "gif";
  return {encode_image(stored, jpeg ? "jpeg" : "png"), jpeg ? ".jpg" : ".png", stored.width(),
          stored.height()};
}

// WebDataset's keys end at the first dot, and ours are plain ASCII.
std::string key_of(const std::string& source, int64_t number) {
  std::string name = fs::path(source).stem().string();
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-') c = '_';
  }
  std::string digits = std::to_string(number);
  return std::string(6 - std::min<size_t>(6, digits.size()), '0') + digits + "_" +
         name.substr(0, 80);
}

// A .gz file, `bytes` long after unpacking.
std::vector<uint8_t> read_gz(const std::string& path, size_t bytes) {
  const std::unique_ptr<gzFile_s, decltype(&gzclose)> file(gzopen(path.c_str(), "rb"), &gzclose);
  check(file != nullptr, ErrorKind::kIo, path, ": cannot be read");
  std::vector<uint8_t> data(bytes);
  const int count = gzread(file.get(), data.data(), static_cast<unsigned>(bytes));
  check(count == static_cast<int>(bytes), ErrorKind::kBadData, path, ": is truncated");
  return data;
}

}  // namespace

bool is_held_out(const std::string& set, const std::string& family) {
  const std::string text = set + "/" + family;
  const std::string digits = sha256(text.data(), text.size()).substr(0, 15);  // 60 bits
  return std::stoull(digits, nullptr, 16) % 20 == 0;
}

PackCount pack_set(const DataSet& set, const std::map<std::string, std::string>& roots,
                   const std::string& output, std::ostream& log) {
  const std::vector<Candidate> candidates = find_candidates(set, roots);
  check(!candidates.empty(), ErrorKind::kBadData, set.name, ": no picture in ",
        set.packages.front(), " matches; is it another release of Debian?");
  const Captions captions(set, roots);
  Shards train(output, set.name + "-train"), held_out(output, set.name + "-heldout");
  std::set<std::string> hashes;
  PackCount count;
  for (const Candidate& candidate : candidates) {
    std::vector<uint8_t> data = read_file(candidate.path, kMaxPictureBytes);
    const std::string hash = sha256(data.data(), data.size());
    if (!hashes.insert(hash).second) {
      ++count.duplicates;
      continue;
    }
    std::optional<Encoded> stored;
    try {
      stored = to_store(std::move(data), candidate);
    } catch (const Error& error) {
      log << set.name << ": left out: " << error.what() << "\n";
      ++count.bad;
      continue;
    }
    const bool out = set.held_out || is_held_out(set.name, family_of(candidate));
    nlohmann::json about = {{"caption", captions.of(candidate)},
                            {"source", candidate.source},
                            {"set", set.name},
                            {"kind", candidate.rule->kind},
                            {"licence", set.licence},
                            {"split", out ? "heldout" : "train"},
                            {"width", stored->width},
                            {"height", stored->height},
                            {"source_sha256", hash}};
    if (const auto keywords = captions.keywords_of(candidate); !keywords.empty())
      about["keywords"] = keywords;
    int64_t& number = out ? count.held_out : count.train;
    (out ? held_out : train)
        .add(key_of(candidate.source, number++), stored->extension, stored->data, about);
  }
  count.bytes = train.close() + held_out.close();
  return count;
}

PackCount pack_fashion_mnist(const std::string& root, const std::string& output) {
  static const char* const kClasses[] = {"t-shirt", "trouser", "pullover", "dress", "coat",
                                         "sandal",  "shirt",   "sneaker",  "bag",   "ankle boot"};
  constexpr int64_t kSide = 28;
  PackCount count;
  for (const bool out : {false, true}) {
    const std::string part = out ? "t10k" : "train",
                      folder = root + "/usr/share/datasets/fashion-mnist/";
    const int64_t pictures = out ? 10'000 : 60'000;
    const std::vector<uint8_t> pixels = read_gz(folder + part + "-images-idx3-ubyte.gz",
                                                static_cast<size_t>(16 + pictures * kSide * kSide));
    const std::vector<uint8_t> labels =
        read_gz(folder + part + "-labels-idx1-ubyte.gz", static_cast<size_t>(8 + pictures));
    Shards shards(output, std::string("fashion-mnist-") + (out ? "heldout" : "train"));
    for (int64_t i = 0; i < pictures; ++i) {
      const uint8_t* from = pixels.data() + 16 + i * kSide * kSide;
      Image image{at::empty({kSide, kSide, 3}, at::kByte)};
      uint8_t* to = image.pixels.data_ptr<uint8_t>();
      for (int64_t p = 0; p < kSide * kSide; ++p) std::fill_n(to + 3 * p, 3, from[p]);
      const uint8_t label = labels[static_cast<size_t>(8 + i)];
      check(label < 10, ErrorKind::kBadData, folder, part, ": label ", int{label}, " of picture ",
            i);
      const nlohmann::json about = {
          {"caption", kClasses[label]},
          {"class", label},
          {"source", "dataset-fashion-mnist/" + part + "/" + std::to_string(i)},
          {"set", "fashion-mnist"},
          {"kind", "clothes"},
          {"licence", "MIT"},
          {"split", out ? "heldout" : "train"}};
      shards.add(key_of(kClasses[label], i), ".png", encode_image(image, "png"), about);
    }
    (out ? count.held_out : count.train) = pictures;
    count.bytes += shards.close();
  }
  return count;
}

}  // namespace lexel::data
