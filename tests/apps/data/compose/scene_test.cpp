#include "apps/data/compose/scene.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::data {
namespace {

using tests::expect_error;

Truth made_truth() {
  const PlacedThing cat{"cat", "cats", "noto", "", Size::kSmall, {8, 16, 30, 32}};
  const PlacedThing car{"car", "cars", "emojione", "red", Size::kLarge, {40, 50, 60, 31}};
  return {SceneKind::kRelation,
          {cat, car},
          Relation::kLeftOf,
          {BackgroundKind::kGradient, "blue", ""},
          {3, true, false, true, false},
          HeldOut::kRelation};
}

TEST(TruthJson, RoundTrip) {
  const Truth truth = made_truth();
  const std::string json = truth_to_json(truth);
  EXPECT_EQ(truth_from_json(json), truth) << json;
  EXPECT_NE(json.find("\"sentence\":\"relation/inverse\""), std::string::npos);
  EXPECT_NE(json.find("\"box\":[8,16,30,32]"), std::string::npos);
}

TEST(TruthJson, RefusesWhatIsNotATruth) {
  const std::string good = truth_to_json(made_truth());
  const auto with = [&](const std::string& what, const std::string& by) {
    std::string changed = good;
    const size_t at = changed.find(what);
    EXPECT_NE(at, std::string::npos) << what;
    return changed.replace(at, what.size(), by);
  };
  const auto refused = [](const std::string& json, const std::string& message) {
    expect_error(ErrorKind::kBadData, message, [&] { truth_from_json(json); });
  };
  refused("", "not JSON");
  refused("[]", "expected an object");
  refused(with("\"kind\":\"relation\"", "\"kind\":\"crowd\""), "kind: unknown value crowd");
  refused(with("\"relation\":", "\"related\":"), "unknown key related");
  refused(with("[8,16,30,32]", "[8,16]"), "truth");
  refused(with("\"size\":\"small\"", "\"size\":3"), "truth");
  refused(with("relation/inverse", "single/bare"), "sentence: unknown value single/bare");
}

TEST(GroupsOf, ThingsOfOneName) {
  Truth truth = made_truth();
  truth.things.push_back(truth.things[1]);
  const std::vector<Group> groups = groups_of(truth);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[1].first, 1u);
  EXPECT_EQ(groups[1].count, 2u);
}

}  // namespace
}  // namespace lexel::data
