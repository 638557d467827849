#include <nlohmann/json.hpp>
#include <set>

#include "apps/data/compose/grammar.h"
#include "apps/data/compose/scene.h"
#include "kernels/check.h"

namespace lexel::data {
namespace {

using Json = nlohmann::ordered_json;

// One of the values `all` whose name_of is the text at `key`.
template <class Value>
Value named(const Json& json, const char* key, std::initializer_list<Value> all) {
  const std::string text = json.at(key).get<std::string>();
  for (const Value value : all) {
    if (text == name_of(value)) return value;
  }
  fail(ErrorKind::kBadData, "truth: ", key, ": unknown value ", text);
}

void check_keys(const Json& json, const char* what, const std::set<std::string>& known) {
  check(json.is_object(), ErrorKind::kBadData, "truth: expected an object at ", what);
  for (const auto& [key, value] : json.items())
    check(known.contains(key), ErrorKind::kBadData, "truth: unknown key ", key, " in ", what);
}

Json to_json(const PlacedThing& thing) {
  const PixelBox& box = thing.box;
  return {{"name", thing.name},          {"plural", thing.plural},
          {"drawing", thing.drawing},    {"colour", thing.colour},
          {"size", name_of(thing.size)}, {"box", {box.left, box.top, box.width, box.height}}};
}

PlacedThing thing_from(const Json& json) {
  check_keys(json, "things", {"name", "plural", "drawing", "colour", "size", "box"});
  PlacedThing thing;
  thing.name = json.at("name").get<std::string>();
  thing.plural = json.at("plural").get<std::string>();
  thing.drawing = json.at("drawing").get<std::string>();
  thing.colour = json.at("colour").get<std::string>();
  thing.size = named(json, "size", {Size::kSmall, Size::kMedium, Size::kLarge});
  const auto box = json.at("box").get<std::array<int64_t, 4>>();
  thing.box = {box[0], box[1], box[2], box[3]};
  return thing;
}

Wording wording_from(const Json& json, SceneKind kind) {
  check_keys(json, "wording", {"sentence", "size", "colour", "background", "synonyms"});
  Wording wording;
  const std::string id = json.at("sentence").get<std::string>();
  const std::vector<Sentence>& known = sentences(kind);
  while (wording.sentence < static_cast<int32_t>(known.size()) &&
         id != known[static_cast<size_t>(wording.sentence)].id)
    ++wording.sentence;
  check(wording.sentence < static_cast<int32_t>(known.size()), ErrorKind::kBadData,
        "truth: sentence: unknown value ", id);
  wording.size = json.at("size").get<bool>();
  wording.colour = json.at("colour").get<bool>();
  wording.background = json.at("background").get<bool>();
  wording.synonyms = json.at("synonyms").get<bool>();
  return wording;
}

Background background_from(const Json& json) {
  check_keys(json, "background", {"kind", "colour", "photo"});
  Background background;
  background.kind = named(
      json, "kind", {BackgroundKind::kPlain, BackgroundKind::kGradient, BackgroundKind::kPhoto});
  background.colour = json.at("colour").get<std::string>();
  background.photo = json.at("photo").get<std::string>();
  return background;
}

Truth truth_from(const Json& json) {
  check_keys(json, "truth", {"kind", "held_out", "relation", "things", "background", "wording"});
  Truth truth;
  truth.kind =
      named(json, "kind",
            {SceneKind::kSingle, SceneKind::kCount, SceneKind::kRelation, SceneKind::kSeveral});
  truth.held_out = named(json, "held_out",
                         {HeldOut::kNone, HeldOut::kWording, HeldOut::kCount, HeldOut::kRelation});
  truth.relation = named(
      json, "relation",
      {Relation::kNone, Relation::kLeftOf, Relation::kRightOf, Relation::kAbove, Relation::kBelow});
  for (const Json& thing : json.at("things")) truth.things.push_back(thing_from(thing));
  check(!truth.things.empty(), ErrorKind::kBadData, "truth: things: expected at least one");
  truth.background = background_from(json.at("background"));
  truth.wording = wording_from(json.at("wording"), truth.kind);
  return truth;
}

}  // namespace

std::string truth_to_json(const Truth& truth) {
  Json things = Json::array();
  for (const PlacedThing& thing : truth.things) things.push_back(to_json(thing));
  const Background& background = truth.background;
  const Wording& wording = truth.wording;
  const Json json = {
      {"kind", name_of(truth.kind)},
      {"held_out", name_of(truth.held_out)},
      {"relation", name_of(truth.relation)},
      {"things", things},
      {"background",
       {{"kind", name_of(background.kind)},
        {"colour", background.colour},
        {"photo", background.photo}}},
      {"wording",
       {{"sentence", sentences(truth.kind)[static_cast<size_t>(wording.sentence)].id},
        {"size", wording.size},
        {"colour", wording.colour},
        {"background", wording.background},
        {"synonyms", wording.synonyms}}}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Truth truth_from_json(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  check(!json.is_discarded(), ErrorKind::kBadData, "truth: is not JSON");
  try {
    return truth_from(json);
  } catch (const Json::exception& error) {
    fail(ErrorKind::kBadData, "truth: ", error.what());
  }
}

}  // namespace lexel::data
