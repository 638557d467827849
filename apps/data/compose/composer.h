#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/data/compose/composer_config.h"
#include "apps/data/compose/scene.h"
#include "apps/data/compose/sprites.h"

namespace lexel::data {

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
