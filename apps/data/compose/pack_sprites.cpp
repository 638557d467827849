#include "apps/data/compose/pack_sprites.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/data/captions.h"
#include "apps/data/compose/sprites.h"
#include "apps/data/compose/things.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/picture_source.h"

namespace lexel::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxPngBytes = 1 << 24;

// Who draws, and where the pictures lie.
struct Artist {
  const char* drawing;
  const char* package;
  const char* folder;  // a part of the path
  const char* licence;
};
constexpr Artist kArtists[] = {
    {"emojione", kSpritePackages[1], "/assets/png/", "CC-BY-SA-4.0"},
    {"noto", kSpritePackages[0], "/assets/images/tanuki_emoji/", "Apache-2.0"},
};

// Emoji (UTF-8) to the path of its picture.
std::map<std::string, std::string> pictures_of(const Artist& artist, const std::string& root) {
  std::map<std::string, std::string> found;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
    const std::string path = entry.path().string();
    if (path.find(artist.folder) == std::string::npos || !path.ends_with(".png")) continue;
    found[emoji_of_file_name(path)] = path;
  }
  return found;
}

}  // namespace

PackCount pack_sprites(const std::map<std::string, std::string>& roots, const std::string& output) {
  std::map<std::string, std::map<std::string, std::string>> pictures;  // by artist
  for (const Artist& artist : kArtists)
    pictures[artist.drawing] = pictures_of(artist, roots.at(artist.package));
  PackCount count;
  const std::string path = output + "/sprites.tar";
  TarWriter tar(path);
  for (const NamedThing& thing : named_things()) {
    const int64_t before = count.train;
    for (const Artist& artist : kArtists) {
      const auto& drawn = pictures.at(artist.drawing);
      const auto picture = drawn.find(utf8(thing.code_point));
      if (picture == drawn.end()) continue;
      const std::vector<uint8_t> file = read_file(picture->second, kMaxPngBytes);
      const RgbaImage whole = decode_rgba(file.data(), file.size(), picture->second);
      const std::vector<uint8_t> png = encode_rgba(visible_part(whole));
      const std::string source =
          fs::path(picture->second).lexically_relative(roots.at(artist.package)).string();
      const std::string json = nlohmann::ordered_json{
          {"name", thing.name},
          {"plural", thing.plural},
          {"drawing", artist.drawing},
          {"tintable", thing.tintable},
          {"source", std::string(artist.package) + "/" + source},
          {"licence",
           artist.licence}}.dump();
      std::string key = thing.name + "_" + artist.drawing;
      std::ranges::replace(key, ' ', '-');
      tar.add(key + ".png", png.data(), png.size());
      tar.add(key + ".json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
      ++count.train;
    }
    check(count.train > before, ErrorKind::kBadData, "no drawing of ", thing.name,
          " in the packages; are they of another release of Debian?");
  }
  tar.close();
  count.bytes = static_cast<int64_t>(fs::file_size(path));
  return count;
}

}  // namespace lexel::data
