#include "apps/data/compose/held_out.h"

#include <string_view>

#include "apps/data/compose/grammar.h"
#include "kernels/philox.h"

namespace lexel::data {
namespace {

bool one_in_ten(const std::string& what) {
  return Philox(fnv1a(what), "held out").uniform_int(10) == 0;
}

}  // namespace

bool is_relation_held_out(const std::string& first, Relation relation, const std::string& second) {
  switch (relation) {
    case Relation::kRightOf:
      return is_relation_held_out(second, Relation::kLeftOf, first);
    case Relation::kBelow:
      return is_relation_held_out(second, Relation::kAbove, first);
    case Relation::kLeftOf:
    case Relation::kAbove:
      return one_in_ten(first + "/" + name_of(relation) + "/" + second);
    case Relation::kNone:
      break;
  }
  return false;
}

bool is_count_held_out(int64_t count, const std::string& thing) {
  return one_in_ten(std::to_string(count) + "/" + thing);
}

HeldOut held_out_part(const Truth& truth) {
  if (truth.kind == SceneKind::kRelation) {
    if (is_relation_held_out(truth.things[0].name, truth.relation, truth.things[1].name))
      return HeldOut::kRelation;
  } else {
    for (const Group& group : groups_of(truth)) {
      const bool counted = group.count > 1 || truth.kind == SceneKind::kSingle;
      if (counted &&
          is_count_held_out(static_cast<int64_t>(group.count), truth.things[group.first].name))
        return HeldOut::kCount;
    }
  }
  const size_t sentence = static_cast<size_t>(truth.wording.sentence);
  return sentences(truth.kind)[sentence].held_out ? HeldOut::kWording : HeldOut::kNone;
}

}  // namespace lexel::data
