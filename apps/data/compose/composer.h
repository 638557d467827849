#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/data/compose/scene.h"
#include "apps/data/compose/sprites.h"

namespace lexel::data {

/// Longer side of a thing in pixels, by its size word.
struct ThingSizes {
  int64_t small = 32, medium = 48, large = 72;
};

/// What scenes look like. The shares of each group are weights: they need not sum to 1.
struct ComposeConfig {
  int64_t canvas = 128;             // side of the picture, pixels
  int64_t grid = 8;                 // things stand on multiples of this many pixels; 1: anywhere
  ThingSizes sizes = {32, 48, 72};  // pixels
  double single = 0.45, count = 0.20, relation = 0.25, several = 0.10;  // kinds of scene
  double plain = 0.60, gradient = 0.20,
         photo = 0.20;  // backgrounds; without photos theirs goes to plain
  double tinted = 0.5;  // of the things that can be drawn in one hue
  double said = 0.5;    // chance that size, colour and background are said, each

  /// throws   Error(kUsage) naming the field
  void validate() const;
};

/// Endless composed scenes with known truth. scene(n, split) depends on the seed, n, the split, the sprites,
/// the backgrounds and the configuration alone, and can be called from any number of threads.
class Composer {
 public:
  /// sprites      tar of `lexel data fetch sprites`
  /// backgrounds  tars, folders or files of pictures for photo backgrounds; may be empty
  /// throws       Error(kIo); Error(kBadData) from read_sprites, or a background without pictures;
  ///              Error(kUsage) a configuration that cannot be drawn
  Composer(const std::string& sprites, const std::vector<std::string>& backgrounds, uint64_t seed,
           const ComposeConfig& config = {});
  ~Composer();
  Composer(Composer&&) noexcept;

  /// A training scene has no part that is held out (held_out.h). A held-out scene has at least one, named in
  /// truth.held_out: equally often a relation, a count (one of a thing included), or a sentence.
  Scene scene(int64_t number, Split split) const;

  /// Every thing that can be in a scene, sorted by name.
  const std::vector<SpriteThing>& things() const;
  const ComposeConfig& config() const;

  /// SHA-256 over sprites, backgrounds, seed and configuration, hex: names a reference set.
  const std::string& fingerprint() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lexel::data
