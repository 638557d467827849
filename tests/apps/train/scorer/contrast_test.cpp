#include "apps/train/scorer/contrast.h"

#include <gtest/gtest.h>
#include <set>

#include "apps/data/compose/grammar.h"

namespace lexel::train {
namespace {

using data::Relation;
using data::SceneKind;
using data::Truth;

data::PlacedThing thing(const std::string& name, const std::string& colour = "") {
  data::PlacedThing placed;
  placed.name = name;
  placed.plural = name + "s";
  placed.colour = colour;
  return placed;
}

Truth scene(SceneKind kind, std::vector<data::PlacedThing> things,
            Relation relation = Relation::kNone) {
  Truth truth;
  truth.kind = kind;
  truth.things = std::move(things);
  truth.relation = relation;
  truth.background.colour = "white";
  return truth;
}

const std::vector<data::SpriteThing>& things() {
  static const std::vector<data::SpriteThing> all = [] {
    std::vector<data::SpriteThing> list;
    for (const char* name : {"cat", "dog", "fish"}) {
      data::SpriteThing one;
      one.name = name;
      one.plural = std::string(name) + "s";
      list.push_back(one);
    }
    return list;
  }();
  return all;
}

std::set<Change> changes(const Truth& truth, const data::Wording& wording = {}) {
  std::set<Change> found;
  for (uint64_t n = 0; n < 50; ++n) {
    Philox random(1, "test", n);
    for (const ChangedCaption& changed : changed_captions(truth, wording, things(), random)) {
      found.insert(changed.change);
      EXPECT_NE(changed.caption, data::caption_of(truth, wording));
      EXPECT_EQ(changed.caption, data::caption_of(changed.truth, wording));
      if (changed.change != Change::kColour) {
        EXPECT_FALSE(could_be(content_of(truth), content_of(changed.truth))) << changed.caption;
      }
    }
  }
  return found;
}

TEST(ChangedCaptions, EachPointThatASceneHasIsChangedAlone) {
  EXPECT_EQ(changes(scene(SceneKind::kSingle, {thing("cat")})),
            (std::set<Change>{Change::kThing, Change::kCount}));
  EXPECT_EQ(changes(scene(SceneKind::kCount, {thing("cat"), thing("cat"), thing("cat")})),
            (std::set<Change>{Change::kThing, Change::kCount}));
  EXPECT_EQ(changes(scene(SceneKind::kRelation, {thing("cat"), thing("dog")}, Relation::kAbove)),
            (std::set<Change>{Change::kThing, Change::kRelation}));
  EXPECT_EQ(changes(scene(SceneKind::kSeveral, {thing("cat"), thing("cat"), thing("dog")})),
            (std::set<Change>{Change::kThing, Change::kCount}));
}

TEST(ChangedCaptions, AColourIsChangedWhereItIsSaid) {
  const Truth truth = scene(SceneKind::kSingle, {thing("cat", "red")});
  data::Wording wording;
  EXPECT_FALSE(changes(truth, wording).contains(Change::kColour));
  wording.colour = true;
  EXPECT_TRUE(changes(truth, wording).contains(Change::kColour));
  EXPECT_FALSE(
      changes(scene(SceneKind::kSingle, {thing("cat")}), wording).contains(Change::kColour));
}

TEST(ChangedCaptions, CountsOfOneAreTheSingleSentence) {
  const Truth truth = scene(SceneKind::kCount, {thing("cat"), thing("cat")});
  std::set<std::string> captions;
  for (uint64_t n = 0; n < 100; ++n) {
    Philox random(1, "test", n);
    for (const ChangedCaption& changed : changed_captions(truth, {}, things(), random))
      if (changed.change == Change::kCount) captions.insert(changed.caption);
  }
  EXPECT_EQ(captions, (std::set<std::string>{"a cat", "three cats", "four cats", "five cats"}));
}

TEST(Content, TheTwoWaysToSayARelationAreTheSame) {
  const Content left =
      content_of(scene(SceneKind::kRelation, {thing("cat"), thing("dog")}, Relation::kLeftOf));
  const Content right =
      content_of(scene(SceneKind::kRelation, {thing("dog"), thing("cat")}, Relation::kRightOf));
  const Content turned =
      content_of(scene(SceneKind::kRelation, {thing("dog"), thing("cat")}, Relation::kLeftOf));
  EXPECT_EQ(left.relation, "cat*1 left of dog*1");
  EXPECT_TRUE(could_be(left, right));
  EXPECT_FALSE(could_be(left, turned));
  EXPECT_TRUE(could_be(left, content_of(scene(SceneKind::kSeveral, {thing("cat"), thing("dog")}))));
  EXPECT_FALSE(could_be(left, content_of(scene(SceneKind::kSingle, {thing("cat")}))));
}

}  // namespace
}  // namespace lexel::train
