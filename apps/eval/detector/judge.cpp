#include "apps/eval/detector/judge.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"

namespace lexel::eval {
namespace {

using data::Group;
using data::Relation;
using data::SceneKind;

std::vector<FoundThing> named(const Sight& sight, const std::string& name) {
  std::vector<FoundThing> all;
  for (const FoundThing& thing : sight.things) {
    if (thing.name == name) all.push_back(thing);
  }
  return all;
}

bool lies(const FoundThing& first, const FoundThing& second, Relation relation) {
  const double right = first.x - second.x, down = first.y - second.y;
  const bool across = std::abs(right) > std::abs(down);
  switch (relation) {
    case Relation::kLeftOf:
      return across && right < 0;
    case Relation::kRightOf:
      return across && right > 0;
    case Relation::kAbove:
      return !across && down < 0;
    case Relation::kBelow:
      return !across && down > 0;
    case Relation::kNone:
      break;
  }
  return true;
}

bool is_of_size(double side, data::Size size, const data::ThingSizes& sizes) {
  const auto between = [](int64_t a, int64_t b) {
    return std::sqrt(static_cast<double>(a) * static_cast<double>(b));
  };
  if (size == data::Size::kSmall) return side < between(sizes.small, sizes.low);
  if (size == data::Size::kLarge) return side > between(sizes.high, sizes.large);
  return true;
}

/// Whether the background is the one that is said, and nothing else.
bool is_background(const std::vector<std::string>& seen, const data::Background& said) {
  const bool photo = said.kind == data::BackgroundKind::kPhoto;
  return seen == std::vector<std::string>{photo ? "photo" : said.colour};
}

/// A claim about each of several groups holds when it holds of all.
void claim(Verdict& verdict, Claim which, bool holds) {
  std::optional<bool>& entry = verdict[static_cast<size_t>(which)];
  entry = entry.value_or(true) && holds;
}

}  // namespace

const char* name_of(Claim claim) {
  static constexpr std::array<const char*, kClaims> kNames{
      "presence, one thing", "presence", "count",      "relation",
      "colour of a thing",   "size",     "background", "all of the caption"};
  return kNames[static_cast<size_t>(claim)];
}

Verdict judge(const data::Truth& truth, const Sight& sight, const data::ThingSizes& sizes) {
  Verdict verdict;
  std::vector<std::vector<FoundThing>> found;
  for (const Group& group : data::groups_of(truth)) {
    const data::PlacedThing& thing = truth.things[group.first];
    const std::vector<FoundThing> all = named(sight, thing.name);
    found.push_back(all);
    const auto each = [&](const auto& holds) {
      return !all.empty() && std::ranges::all_of(all, holds);
    };
    const bool as_often = all.size() == group.count;
    claim(verdict, Claim::kPresence, !all.empty());
    if (truth.kind == SceneKind::kSingle) claim(verdict, Claim::kSingle, !all.empty());
    if (truth.kind == SceneKind::kCount || truth.kind == SceneKind::kSeveral)
      claim(verdict, Claim::kCount, as_often);
    if (truth.wording.colour && !thing.colour.empty()) {
      claim(verdict, Claim::kColour,
            each([&](const FoundThing& one) { return one.colour == thing.colour; }));
    }
    if (truth.wording.size && thing.size != data::Size::kMedium) {
      claim(verdict, Claim::kSize,
            each([&](const FoundThing& one) { return is_of_size(one.side, thing.size, sizes); }));
    }
    claim(verdict, Claim::kAll, as_often);
  }
  if (truth.relation != Relation::kNone && found.size() == 2) {
    const bool both = !found[0].empty() && !found[1].empty();
    claim(verdict, Claim::kRelation,
          both && lies(found[0].front(), found[1].front(), truth.relation));
  }
  if (truth.wording.background) {
    claim(verdict, Claim::kBackground, is_background(sight.backgrounds, truth.background));
  }
  for (size_t i = 0; i < kClaims; ++i) {
    if (verdict[i].has_value()) claim(verdict, Claim::kAll, *verdict[i]);
  }
  return verdict;
}

std::array<Tally, kClaims> tally(const std::vector<Verdict>& verdicts) {
  std::array<Tally, kClaims> tallies{};
  for (const Verdict& verdict : verdicts) {
    for (size_t i = 0; i < kClaims; ++i) {
      if (!verdict[i].has_value()) continue;
      ++tallies[i].made;
      if (*verdict[i]) ++tallies[i].held;
    }
  }
  return tallies;
}

std::array<Tally, kClaims> tally_shuffled(const std::vector<data::Truth>& truths,
                                          const std::vector<Sight>& sights,
                                          const data::ThingSizes& sizes, int64_t shifts) {
  check_arg(truths.size() == sights.size(), "tally_shuffled", "expected as many sights as scenes, ",
            truths.size(), ", got ", sights.size());
  std::vector<Verdict> verdicts;
  const size_t count = truths.size();
  for (size_t shift = 1; shift < count && shift <= static_cast<size_t>(shifts); ++shift) {
    for (size_t i = 0; i < count; ++i)
      verdicts.push_back(judge(truths[(i + shift) % count], sights[i], sizes));
  }
  return tally(verdicts);
}

}  // namespace lexel::eval
