#include "apps/data/compose/grammar.h"

#include <gtest/gtest.h>
#include <set>

#include "apps/data/compose/things.h"
#include "tests/support/expect_error.h"

namespace lexel::data {
namespace {

using tests::expect_error;

PlacedThing thing(const std::string& name, const std::string& plural, Size size = Size::kMedium,
                  const std::string& colour = "") {
  return {name, plural, "noto", colour, size, {0, 0, 8, 8}};
}

constexpr Wording kAll{.sentence = 0, .size = true, .colour = true, .background = true};

TEST(CaptionOf, Single) {
  Truth truth{.things = {thing("umbrella", "umbrellas", Size::kLarge, "orange")}};
  truth.background.colour = "orange";
  EXPECT_EQ(caption_of(truth, {}), "an umbrella");
  EXPECT_EQ(caption_of(truth, kAll), "a big orange umbrella on an orange background");
  EXPECT_EQ(caption_of(truth, {.sentence = 1, .colour = true}), "a picture of an orange umbrella");
  EXPECT_EQ(caption_of(truth, {.sentence = 3, .size = true, .synonyms = true}),
            "there is a large umbrella");
  truth.background.kind = BackgroundKind::kPhoto;
  EXPECT_EQ(caption_of(truth, {.background = true}), "an umbrella in front of a photo");
  truth.background.kind = BackgroundKind::kGradient;
  EXPECT_EQ(caption_of(truth, {.background = true}), "an umbrella on an orange gradient");
}

TEST(CaptionOf, CountUsesThePlural) {
  const PlacedThing mouse = thing("mouse", "mice", Size::kSmall, "grey");
  const Truth truth{.kind = SceneKind::kCount, .things = {mouse, mouse, mouse}};
  EXPECT_EQ(caption_of(truth, {.size = true, .colour = true}), "three small grey mice");
}

TEST(CaptionOf, RelationAndItsInverse) {
  const Truth truth{.kind = SceneKind::kRelation,
                    .things = {thing("fish", "fish", Size::kMedium, "red"),
                               thing("house", "houses", Size::kLarge)},
                    .relation = Relation::kAbove};
  EXPECT_EQ(caption_of(truth, {.size = true, .colour = true}), "a red fish above a big house");
  EXPECT_EQ(caption_of(truth, {.sentence = 3}), "above a house there is a fish");
  EXPECT_EQ(caption_of(truth, {.synonyms = true}), "a fish over a house");
}

TEST(CaptionOf, SeveralAreJoined) {
  const PlacedThing car = thing("car", "cars"), tree = thing("tree", "trees"),
                    owl = thing("owl", "owls");
  Truth truth{.kind = SceneKind::kSeveral, .things = {car, car, tree}};
  EXPECT_EQ(caption_of(truth, {}), "two cars and a tree");
  truth.things.push_back(owl);
  EXPECT_EQ(caption_of(truth, {.sentence = 2}), "two cars, a tree and an owl together");
}

TEST(CaptionOf, RefusesAnUnknownSentence) {
  const Truth truth{.things = {thing("cat", "cats")}};
  expect_error(ErrorKind::kUsage, "expected a sentence in [0, 6), got 6",
               [&] { caption_of(truth, {.sentence = 6}); });
  expect_error(ErrorKind::kUsage, "got -1", [&] { caption_of(truth, {.sentence = -1}); });
}

TEST(Sentences, AKindHasSomeToTrainOnAndSomeHeldOut) {
  std::set<std::string> ids;
  for (int kind = 0; kind < 4; ++kind) {
    int train = 0, out = 0;
    for (const Sentence& sentence : sentences(static_cast<SceneKind>(kind))) {
      EXPECT_TRUE(ids.insert(sentence.id).second) << sentence.id;
      ++(sentence.held_out ? out : train);
    }
    EXPECT_GE(train, 3);
    EXPECT_GE(out, 2);
  }
}

TEST(Article, FollowsTheSound) {
  EXPECT_STREQ(article("unicorn"), "a");
  EXPECT_STREQ(article("umbrella"), "an");
  EXPECT_STREQ(article("hourglass"), "an");
  EXPECT_STREQ(article("eye"), "an");
  EXPECT_STREQ(article("house"), "a");
}

TEST(NumberWord, OneToFive) {
  EXPECT_STREQ(number_word(5), "five");
  expect_error(ErrorKind::kUsage, "got 0", [] { number_word(0); });
  expect_error(ErrorKind::kUsage, "got 6", [] { number_word(6); });
}

TEST(NamedThings, AreSortedDistinctAndManyCanBeTinted) {
  const auto& things = named_things();
  std::set<char32_t> codes;
  int64_t tintable = 0;
  for (size_t i = 0; i < things.size(); ++i) {
    EXPECT_TRUE(codes.insert(things[i].code_point).second) << things[i].name;
    if (i > 0) {
      EXPECT_LT(things[i - 1].name, things[i].name);
    }
    EXPECT_EQ(things[i].name.find(" and "), std::string::npos);
    tintable += things[i].tintable;
  }
  EXPECT_GE(things.size(), 100u);
  EXPECT_GE(tintable, 50);
}

}  // namespace
}  // namespace lexel::data
