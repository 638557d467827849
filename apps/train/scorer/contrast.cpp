#include "apps/train/scorer/contrast.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "apps/data/compose/colours.h"
#include "apps/data/compose/grammar.h"

namespace lexel::train {
namespace {

using data::Group;
using data::Relation;
using data::SceneKind;
using data::Truth;

Group any_group(const Truth& truth, Philox& random) {
  const std::vector<Group> groups = data::groups_of(truth);
  return groups[random.uniform_int(groups.size())];
}

std::optional<Truth> another_thing(const Truth& truth, const std::vector<data::SpriteThing>& things,
                                   Philox& random) {
  const auto in_scene = [&](const data::SpriteThing& thing) {
    return std::ranges::any_of(
        truth.things, [&](const data::PlacedThing& placed) { return placed.name == thing.name; });
  };
  std::vector<size_t> absent;
  for (size_t i = 0; i < things.size(); ++i)
    if (!in_scene(things[i])) absent.push_back(i);
  if (absent.empty()) return std::nullopt;
  const data::SpriteThing& other = things[absent[random.uniform_int(absent.size())]];
  Truth changed = truth;
  const Group group = any_group(truth, random);
  for (size_t i = group.first; i < group.first + group.count; ++i) {
    changed.things[i].name = other.name;
    changed.things[i].plural = other.plural;
  }
  return changed;
}

std::optional<Truth> another_count(const Truth& truth, Philox& random) {
  if (truth.kind == SceneKind::kRelation) return std::nullopt;
  const Group group = any_group(truth, random);
  const size_t most = truth.kind == SceneKind::kSeveral ? 3 : 5;  // as scenes have them
  size_t count = 1 + random.uniform_int(most - 1);
  if (count >= group.count) ++count;
  Truth changed = truth;
  const auto begin = changed.things.begin() + static_cast<std::ptrdiff_t>(group.first);
  const data::PlacedThing thing = *begin;
  changed.things.erase(begin, begin + static_cast<std::ptrdiff_t>(group.count));
  changed.things.insert(changed.things.begin() + static_cast<std::ptrdiff_t>(group.first), count,
                        thing);
  // Their sentences are the same ones in the same order.
  if (truth.kind != SceneKind::kSeveral)
    changed.kind = count == 1 ? SceneKind::kSingle : SceneKind::kCount;
  return changed;
}

std::optional<Truth> another_relation(const Truth& truth, Philox& random) {
  if (truth.kind != SceneKind::kRelation) return std::nullopt;
  std::vector<Relation> others;
  for (const Relation relation :
       {Relation::kLeftOf, Relation::kRightOf, Relation::kAbove, Relation::kBelow})
    if (relation != truth.relation) others.push_back(relation);
  Truth changed = truth;
  changed.relation = others[random.uniform_int(others.size())];
  return changed;
}

std::optional<Truth> another_colour(const Truth& truth, const data::Wording& wording,
                                    Philox& random) {
  const Group group = any_group(truth, random);
  const std::string& colour = truth.things[group.first].colour;
  if (!wording.colour || colour.empty()) return std::nullopt;
  std::vector<std::string> others;
  for (const data::Colour& other : data::thing_colours())
    if (other.name != colour) others.emplace_back(other.name);
  if (others.empty()) return std::nullopt;
  Truth changed = truth;
  const std::string& chosen = others[random.uniform_int(others.size())];
  for (size_t i = group.first; i < group.first + group.count; ++i)
    changed.things[i].colour = chosen;
  return changed;
}

}  // namespace

const char* name_of(Change change) {
  switch (change) {
    case Change::kThing:
      return "thing";
    case Change::kCount:
      return "count";
    case Change::kRelation:
      return "relation";
    case Change::kColour:
      return "colour";
  }
  return "";
}

std::vector<ChangedCaption> changed_captions(const Truth& truth, const data::Wording& wording,
                                             const std::vector<data::SpriteThing>& things,
                                             Philox& random) {
  std::vector<ChangedCaption> out;
  const auto add = [&](Change change, std::optional<Truth> changed) {
    if (!changed) return;
    std::string caption = data::caption_of(*changed, wording);
    out.push_back({change, std::move(*changed), std::move(caption)});
  };
  add(Change::kThing, another_thing(truth, things, random));
  add(Change::kCount, another_count(truth, random));
  add(Change::kRelation, another_relation(truth, random));
  add(Change::kColour, another_colour(truth, wording, random));
  for (size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[random.uniform_int(i)]);
  return out;
}

Content content_of(const Truth& truth) {
  std::vector<std::string> things;
  for (const Group& group : data::groups_of(truth))
    things.push_back(truth.things[group.first].name + "*" + std::to_string(group.count));
  Content content;
  if (truth.kind == SceneKind::kRelation) {
    const bool turned = truth.relation == Relation::kRightOf || truth.relation == Relation::kBelow;
    const bool beside = truth.relation == Relation::kLeftOf || truth.relation == Relation::kRightOf;
    content.relation = things[turned] + (beside ? " left of " : " above ") + things[!turned];
  }
  std::ranges::sort(things);
  for (const std::string& thing : things) content.things += thing + " ";
  return content;
}

bool could_be(const Content& shown, const Content& told) {
  return shown.things == told.things &&
         (shown.relation.empty() || told.relation.empty() || shown.relation == told.relation);
}

}  // namespace lexel::train
