#pragma once

#include <string>
#include <vector>

#include "apps/data/compose/scene.h"
#include "apps/data/compose/sprites.h"
#include "kernels/philox.h"

namespace lexel::train {

/// What one caption says that another does not: the part of a scene that was changed.
enum class Change { kThing, kCount, kRelation, kColour };
const char* name_of(Change change);

/// A caption that is false of its scene in one point.
struct ChangedCaption {
  Change change = Change::kThing;
  data::Truth truth;  // what it tells
  std::string caption;
};

/// The captions that a scene could be told by but for one point, in a random order: another thing (one that is not in the
/// scene), another count, another relation, another colour (where the wording says the colour). One of each
/// kind that the scene has.
///
/// things  every thing that can be in a scene
/// random  decides what is changed and to what
std::vector<ChangedCaption> changed_captions(const data::Truth& truth, const data::Wording& wording,
                                             const std::vector<data::SpriteThing>& things,
                                             Philox& random);

/// Things with their counts and relation, in a form in which "a cat left of a dog" and "a dog right of a cat" are the same.
struct Content {
  std::string things;    // "cat*1 dog*1", by name
  std::string relation;  // "cat*1 left of dog*1"; empty: not said
};
Content content_of(const data::Truth& truth);

/// Whether a caption of `told` could be true of a scene of `shown`, colours and backgrounds aside: the same things, and no
/// other relation.
bool could_be(const Content& shown, const Content& told);

}  // namespace lexel::train
