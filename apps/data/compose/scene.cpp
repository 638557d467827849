#include "apps/data/compose/scene.h"

namespace lexel::data {

std::vector<Group> groups_of(const Truth& truth) {
  std::vector<Group> groups;
  for (size_t i = 0; i < truth.things.size(); ++i) {
    if (i == 0 || truth.things[i].name != truth.things[i - 1].name) groups.push_back({i, 0});
    ++groups.back().count;
  }
  return groups;
}

const char* name_of(SceneKind kind) {
  switch (kind) {
    case SceneKind::kSingle:
      return "single";
    case SceneKind::kCount:
      return "count";
    case SceneKind::kRelation:
      return "relation";
    case SceneKind::kSeveral:
      break;
  }
  return "several";
}

const char* name_of(Size size) {
  switch (size) {
    case Size::kSmall:
      return "small";
    case Size::kMedium:
      return "medium";
    case Size::kLarge:
      break;
  }
  return "large";
}

const char* name_of(Relation relation) {
  switch (relation) {
    case Relation::kLeftOf:
      return "left of";
    case Relation::kRightOf:
      return "right of";
    case Relation::kAbove:
      return "above";
    case Relation::kBelow:
      return "below";
    case Relation::kNone:
      break;
  }
  return "none";
}

const char* name_of(BackgroundKind kind) {
  switch (kind) {
    case BackgroundKind::kPlain:
      return "plain";
    case BackgroundKind::kGradient:
      return "gradient";
    case BackgroundKind::kPhoto:
      break;
  }
  return "photo";
}

const char* name_of(HeldOut reason) {
  switch (reason) {
    case HeldOut::kWording:
      return "wording";
    case HeldOut::kCount:
      return "count";
    case HeldOut::kRelation:
      return "relation";
    case HeldOut::kNone:
      break;
  }
  return "none";
}

}  // namespace lexel::data
