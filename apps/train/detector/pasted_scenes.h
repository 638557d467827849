#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/data/compose/scene.h"
#include "apps/data/compose/sprites.h"

namespace lexel::train {

/// What the pictures that a detector learns from look like.
struct PasteConfig {
  int64_t canvas = 128;                   // side of the picture, pixels
  int64_t min_side = 24, max_side = 104;  // longer side of a thing, pixels; steps of 4
  int64_t max_things = 6;                 // in a picture, at least one
  int64_t photos = 200;                   // for backgrounds, spread evenly over those given
  double repeated = 0.35;                 // chance that a thing is the one before once more
  double tinted = 0.5;                    // of the things that can be drawn in one hue
  double visible = 0.6;                   // share of a thing that later ones may not hide

  /// throws   Error(kUsage) naming the field
  void validate() const;
};

/// Things strewn over backgrounds by chance alone: sizes and places are free, things overlap, and there is no
/// caption. A detector that learns from these knows neither the grammar nor the layouts of composed scenes.
class PastedScenes {
 public:
  /// sprites      tar of `lexel data fetch sprites`
  /// backgrounds  see data::Composer
  PastedScenes(const std::string& sprites, const std::vector<std::string>& backgrounds,
               uint64_t seed, const PasteConfig& config);
  ~PastedScenes();
  PastedScenes(const PastedScenes&) = delete;
  PastedScenes& operator=(const PastedScenes&) = delete;

  /// Scene `number` of the endless list. Its truth has things and background; sizes are words by pixels, kind,
  /// relation and wording mean nothing, the caption is empty. For one thread.
  data::Scene scene(int64_t number);

  const std::vector<data::SpriteThing>& things() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lexel::train
