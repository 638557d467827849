#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "apps/data/compose/composer.h"
#include "apps/eval/detector/sight.h"

namespace lexel::eval {

/// What a caption can claim, each judged on its own.
enum class Claim {
  kSingle,    // the thing of a caption of one thing is there
  kPresence,  // every thing that is named is there
  kCount,     // every thing is there as often as is said (captions with a number or several things)
  kRelation,  // the first lies left of, right of, above or below the second
  kColour,    // every thing of a said colour has it
  kSize,      // every thing that is said to be small or big is
  kBackground,  // the background that is said
  kAll,         // all that is claimed holds, "a cat" meaning one
};
inline constexpr size_t kClaims = 8;
const char* name_of(Claim claim);

/// True or false for each claim that the caption makes; empty for those that it does not.
using Verdict = std::array<std::optional<bool>, kClaims>;

/// Whether what was seen is what the caption of this scene says. What is there beside it does not matter.
///
///   count     so many found things of that name, neither more nor less
///   relation  between the middles of the best of each; the direction that is said is the main one
///   colour    of every found thing of that name; size likewise, halfway between the composer's sizes
///   background  the colour that is said and no other; "photo" likewise
///
/// truth     as the composer tells it; its wording says what is claimed
/// sizes     longer sides of things, as the scenes were composed
Verdict judge(const data::Truth& truth, const Sight& sight, const data::ThingSizes& sizes);

/// How often a claim holds.
struct Tally {
  int64_t held = 0, made = 0;
};
std::array<Tally, kClaims> tally(const std::vector<Verdict>& verdicts);

/// How often the claims of other scenes hold: each sight is judged by the captions of the next `shifts`
/// scenes, around the end. What a generator that ignores its caption would get.
std::array<Tally, kClaims> tally_shuffled(const std::vector<data::Truth>& truths,
                                          const std::vector<Sight>& sights,
                                          const data::ThingSizes& sizes, int64_t shifts);

}  // namespace lexel::eval
