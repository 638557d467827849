#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::spae {

/// Few-shot episodes, each named by seed and number alone.
struct EpisodeOptions {
  int64_t ways = 2;   // classes
  int64_t shots = 1;  // pictures of each class that are shown
  int64_t count = 60;
  uint64_t seed = 0;
};

/// One episode, as places in the list of pictures it was made from.
struct Episode {
  std::vector<std::string> classes;  // in the order that they are named
  std::vector<int64_t>
      shots;  // ways * shots pictures; class after class in turn, so that recency favours none
  int64_t query = 0;  // another picture, of classes[answer]
  int64_t answer = 0;
};

/// Draws classes that have enough pictures, then pictures without repetition. Every class is the answer as often as chance has
/// it, and stands at any place.
///
/// concepts  of each picture; not empty
/// throws    Error(kUsage) options < 1 (ways < 2), or fewer classes with shots + 1 pictures than ways, with their number
std::vector<Episode> make_episodes(const std::vector<std::string>& concepts,
                                   const EpisodeOptions& options);

}  // namespace lexel::spae
