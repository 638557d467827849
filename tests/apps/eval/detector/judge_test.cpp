#include "apps/eval/detector/judge.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::eval {
namespace {

using data::BackgroundKind;
using data::Relation;
using data::SceneKind;
using data::Truth;

const data::ThingSizes kSizes{32, 48, 64, 96};

FoundThing found(const std::string& name, double x = 64, double y = 64, double side = 48,
                 const std::string& colour = "red") {
  return {name, 0.9, colour, x, y, side};
}

data::PlacedThing thing(const std::string& name, const std::string& colour = "",
                        data::Size size = data::Size::kMedium) {
  return {name, name + "s", "noto", colour, size, {}};
}

Truth scene(SceneKind kind, std::vector<data::PlacedThing> things) {
  Truth truth;
  truth.kind = kind;
  truth.things = std::move(things);
  truth.background.kind = BackgroundKind::kPlain;
  truth.background.colour = "blue";
  return truth;
}

std::optional<bool> verdict(const Truth& truth, const Sight& sight, Claim claim) {
  return judge(truth, sight, kSizes)[static_cast<size_t>(claim)];
}

TEST(Judge, ASingleThingIsThereOrNot) {
  const Truth cat = scene(SceneKind::kSingle, {thing("cat")});
  for (const Claim claim : {Claim::kSingle, Claim::kPresence, Claim::kAll}) {
    EXPECT_EQ(verdict(cat, {{found("dog"), found("cat")}, {}}, claim), true) << name_of(claim);
    EXPECT_EQ(verdict(cat, {{found("dog")}, {}}, claim), false) << name_of(claim);
  }
  for (const Claim claim :
       {Claim::kCount, Claim::kRelation, Claim::kColour, Claim::kSize, Claim::kBackground})
    EXPECT_EQ(verdict(cat, {{found("cat")}, {}}, claim), std::nullopt) << name_of(claim);
}

TEST(Judge, ACatMeansOneCat) {
  const Truth cat = scene(SceneKind::kSingle, {thing("cat")});
  const Sight two{{found("cat", 20), found("cat", 90)}, {}};
  EXPECT_EQ(verdict(cat, two, Claim::kSingle), true);
  EXPECT_EQ(verdict(cat, two, Claim::kAll), false);
}

TEST(Judge, CountsNeitherMoreNorLess) {
  const Truth cats = scene(SceneKind::kCount, {thing("cat"), thing("cat"), thing("cat")});
  for (size_t n = 1; n <= 4; ++n) {
    const Sight sight{std::vector<FoundThing>(n, found("cat")), {}};
    EXPECT_EQ(verdict(cats, sight, Claim::kCount), n == 3) << n;
    EXPECT_EQ(verdict(cats, sight, Claim::kPresence), true);
    EXPECT_EQ(verdict(cats, sight, Claim::kSingle), std::nullopt);
  }
  const Truth both = scene(SceneKind::kSeveral, {thing("cat"), thing("cat"), thing("dog")});
  EXPECT_EQ(verdict(both, {{found("cat"), found("cat"), found("dog")}, {}}, Claim::kCount), true);
  EXPECT_EQ(verdict(both, {{found("cat"), found("dog"), found("dog")}, {}}, Claim::kCount), false);
}

TEST(Judge, RelationsCompareMiddles) {
  Truth truth = scene(SceneKind::kRelation, {thing("cat"), thing("dog")});
  const struct {
    Relation relation;
    double x, y;  // of the cat; the dog is at (64, 64)
  } right[] = {{Relation::kLeftOf, 20, 70},
               {Relation::kRightOf, 100, 50},
               {Relation::kAbove, 60, 20},
               {Relation::kBelow, 70, 110}};
  for (const auto& said : right) {
    truth.relation = said.relation;
    for (const auto& drawn : right) {
      const Sight sight{{found("cat", drawn.x, drawn.y), found("dog")}, {}};
      EXPECT_EQ(verdict(truth, sight, Claim::kRelation), said.relation == drawn.relation)
          << data::name_of(said.relation) << " as " << data::name_of(drawn.relation);
    }
    EXPECT_EQ(verdict(truth, {{found("cat", said.x, said.y)}, {}}, Claim::kRelation), false);
  }
}

TEST(Judge, OnlyASaidColourCounts) {
  Truth truth = scene(SceneKind::kSingle, {thing("car", "red")});
  const Sight blue{{found("car", 64, 64, 48, "blue")}, {}};
  EXPECT_EQ(verdict(truth, blue, Claim::kColour), std::nullopt);
  EXPECT_EQ(verdict(truth, blue, Claim::kAll), true);
  truth.wording.colour = true;
  EXPECT_EQ(verdict(truth, blue, Claim::kColour), false);
  EXPECT_EQ(verdict(truth, blue, Claim::kAll), false);
  EXPECT_EQ(verdict(truth, {{found("car")}, {}}, Claim::kColour), true);
  EXPECT_EQ(verdict(truth, {{}, {}}, Claim::kColour), false);  // a car that is not there is not red
}

TEST(Judge, SizesAreToldApartHalfway) {
  Truth truth = scene(SceneKind::kSingle, {thing("car", "", data::Size::kSmall)});
  truth.wording.size = true;
  EXPECT_EQ(verdict(truth, {{found("car", 64, 64, 38)}, {}}, Claim::kSize), true);
  EXPECT_EQ(verdict(truth, {{found("car", 64, 64, 41)}, {}}, Claim::kSize), false);
  truth.things[0].size = data::Size::kLarge;
  EXPECT_EQ(verdict(truth, {{found("car", 64, 64, 76)}, {}}, Claim::kSize), false);
  EXPECT_EQ(verdict(truth, {{found("car", 64, 64, 81)}, {}}, Claim::kSize), true);
}

TEST(Judge, BackgroundsAreExactlyWhatIsSaid) {
  Truth truth = scene(SceneKind::kSingle, {thing("car")});
  const auto holds = [&](std::vector<std::string> names) {
    return verdict(truth, {{found("car")}, std::move(names)}, Claim::kBackground);
  };
  EXPECT_EQ(holds({"blue"}), std::nullopt);
  truth.wording.background = true;
  EXPECT_EQ(holds({"blue"}), true);
  EXPECT_EQ(holds({"blue", "red"}), false);
  EXPECT_EQ(holds({}), false);
  truth.background = {BackgroundKind::kGradient, "blue", ""};
  EXPECT_EQ(holds({"blue"}), true);
  truth.background = {BackgroundKind::kPhoto, "", "x.jpg"};
  EXPECT_EQ(holds({"blue"}), false);
  EXPECT_EQ(holds({"photo"}), true);
}

TEST(Judge, TalliesAndTheChanceOfShuffledCaptions) {
  std::vector<Truth> truths;
  std::vector<Sight> sights;
  for (const char* name : {"cat", "dog", "cow", "dog"}) {
    truths.push_back(scene(SceneKind::kSingle, {thing(name)}));
    sights.push_back({{found(name)}, {}});
  }
  std::vector<Verdict> verdicts;
  for (size_t i = 0; i < truths.size(); ++i)
    verdicts.push_back(judge(truths[i], sights[i], kSizes));
  const Tally own = tally(verdicts)[static_cast<size_t>(Claim::kSingle)];
  EXPECT_EQ(own.held, 4);
  EXPECT_EQ(own.made, 4);
  EXPECT_EQ(tally(verdicts)[static_cast<size_t>(Claim::kCount)].made, 0);
  // Of the 12 other captions, those of the two dogs fit each other.
  const Tally other =
      tally_shuffled(truths, sights, kSizes, 100)[static_cast<size_t>(Claim::kSingle)];
  EXPECT_EQ(other.held, 2);
  EXPECT_EQ(other.made, 12);
  tests::expect_error(ErrorKind::kUsage, "as many sights",
                      [&] { tally_shuffled(truths, {}, kSizes, 1); });
}

}  // namespace
}  // namespace lexel::eval
