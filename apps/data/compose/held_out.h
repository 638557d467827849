#pragma once

#include <cstdint>
#include <string>

#include "apps/data/compose/scene.h"

namespace lexel::data {

// What no training scene shows. Decided by a hash of the names alone: the same for every seed, canvas and set
// of sprites, for good.

/// 10 % of (first, relation, second). The two ways to say the same, "a cat left of a dog" and "a dog right of
/// a cat", are held out together.
bool is_relation_held_out(const std::string& first, Relation relation, const std::string& second);

/// 10 % of (count, thing), count in 1 .. 5. Where (1, thing) is held out, the thing is never alone in a
/// training picture; it is still seen in relations and among several.
bool is_count_held_out(int64_t count, const std::string& thing);

/// Whether a training scene may have this truth: its relation, its counts (of several things, those above one)
/// and its sentence. The first that forbids it, kNone when there is none.
HeldOut held_out_part(const Truth& truth);

}  // namespace lexel::data
