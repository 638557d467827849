#include "apps/data/compose/write_scenes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/data/compose/composer.h"
#include "apps/progress.h"
#include "kernels/check.h"
#include "tokenizers/io/contact_sheet.h"
#include "tokenizers/io/picture_source.h"

namespace lexel::data {
namespace {

constexpr int64_t kMaxScenes = 10'000'000;
constexpr int64_t kSheetScenes = 64, kSheetColumns = 8;

std::string key_of(int64_t number) {
  const std::string digits = std::to_string(number);
  return "scene-" + std::string(8 - std::min<size_t>(8, digits.size()), '0') + digits;
}

void write_scene(const Scene& scene, int64_t number, const ComposeOptions& options,
                 const std::string& fingerprint, TarWriter& tar) {
  const nlohmann::ordered_json about = {
      {"caption", scene.caption},
      {"set", "composed"},
      {"kind", "composed"},
      {"split", options.split},
      {"seed", options.seed},
      {"number", number},
      {"composer", fingerprint},
      {"truth", nlohmann::ordered_json::parse(truth_to_json(scene.truth))}};
  const std::vector<uint8_t> png = encode_image(scene.picture, "png");
  const std::string json = about.dump(), key = key_of(number);
  tar.add(key + ".png", png.data(), png.size());
  tar.add(key + ".json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
}

}  // namespace

void run_data_compose(const ComposeOptions& options) {
  check_arg(options.split == "train" || options.split == "heldout", "--split",
            "expected train or heldout, got ", options.split);
  check_arg(options.count >= 1 && options.count <= kMaxScenes, "--count", "expected 1 to ",
            kMaxScenes, ", got ", options.count);
  check_arg(!options.output.empty() || !options.sheet.empty(), "compose",
            "expected --output TAR or --sheet PNG");
  const Composer composer(options.sprites, options.backgrounds, options.seed, options.config);
  const Split split = options.split == "train" ? Split::kTrain : Split::kHeldOut;

  std::optional<TarWriter> tar;
  if (!options.output.empty()) tar.emplace(options.output);
  std::vector<std::vector<Image>> rows;
  const int64_t count = tar ? options.count : std::min(options.count, kSheetScenes);
  cli::Progress progress("composing", count, "scenes", options.quiet);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t number = options.first + i;
    const Scene scene = composer.scene(number, split);
    if (tar) write_scene(scene, number, options, composer.fingerprint(), *tar);
    if (!options.sheet.empty() && i < kSheetScenes) {
      if (i % kSheetColumns == 0) rows.emplace_back();
      rows.back().push_back(captioned(scene.picture, scene.caption));
    }
    progress.update(i + 1);
  }
  if (!options.sheet.empty()) write_image(options.sheet, contact_sheet(rows));
  if (tar) tar->close();
}

}  // namespace lexel::data
