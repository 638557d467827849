#include "apps/eval/generator/report.h"

#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::eval {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

data::Truth single(const std::string& name) {
  data::Truth truth;
  data::PlacedThing thing;
  thing.name = name;
  truth.things = {thing};
  return truth;
}

Sight seen(const std::string& name) { return {{{name, 0.9, "red", 64, 64, 48}}, {}}; }

TEST(Report, CaptionMatchStandsBesideCeilingAndChance) {
  SceneSet set;
  Sights sights;
  for (const char* name : {"cat", "dog", "cow", "pig"}) {
    set.captions.push_back(name);
    set.truths.push_back(single(name));
    sights.composed.push_back(seen(name));
    sights.decoded.push_back(seen(std::string(name) == "pig" ? "dog" : name));
    sights.drawn.push_back(seen(name[0] == 'c' ? name : "cat"));  // draws too many cats
  }
  set.truths[0].held_out = set.truths[1].held_out = data::HeldOut::kWording;
  set.truths[2].held_out = data::HeldOut::kCount;
  const Json match = caption_match(set, sights, {});
  EXPECT_EQ(match["one thing in a new sentence"]["of"], 2);
  EXPECT_DOUBLE_EQ(match["one thing in a new sentence"]["value"], 0.5);  // the dog is missing
  EXPECT_EQ(match["one thing never seen alone"]["of"], 1);
  EXPECT_DOUBLE_EQ(match["one thing never seen alone"]["value"], 1.0);
  const Json& one = match["presence, one thing"];
  EXPECT_DOUBLE_EQ(one["value"], 0.5);
  EXPECT_EQ(one["of"], 4);
  EXPECT_LT(one["low"].get<double>(), 0.5);
  EXPECT_GT(one["high"].get<double>(), 0.5);
  EXPECT_DOUBLE_EQ(one["ceiling, composed"]["value"], 1.0);
  EXPECT_DOUBLE_EQ(one["ceiling, decoded"]["value"], 0.75);
  // Of the 12 pairs of a picture and another caption, the cats of dog and pig fit the caption "cat".
  EXPECT_DOUBLE_EQ(one["chance"], 2.0 / 12);
  EXPECT_FALSE(match.contains("relation"));  // no caption claims one
}

TEST(Report, TheFrechetDistanceOfASetToItselfIsNothing) {
  const at::Tensor a = tests::random_tensor(1, {12, 5});
  const Json same = frechet(a, a, 1);
  EXPECT_NEAR(same["value"].get<double>(), 0.0, 1e-6);
  const Json other = frechet(a, a + 3, 1);
  EXPECT_NEAR(other["value"].get<double>(), 5 * 9, 1e-4);
  EXPECT_LE(other["low"].get<double>(), other["value"].get<double>());
  EXPECT_GE(other["high"].get<double>(), other["value"].get<double>());
}

TEST(Report, TheGapIsHeldOutMinusTraining) {
  const Json json = likelihood({3, 4, 5}, {1, 2, 3}, 8192, 1, 100);
  EXPECT_DOUBLE_EQ(json["held-out pictures"]["value"], 4.0);
  EXPECT_DOUBLE_EQ(json["pictures as in training"]["value"], 2.0);
  EXPECT_DOUBLE_EQ(json["gap"]["value"], 2.0);
  EXPECT_DOUBLE_EQ(json["gap"]["low"], 2.0);  // the same for each pair
  EXPECT_NEAR(json["knowing nothing (ln K)"]["value"].get<double>(), 9.0109, 1e-4);
  tests::expect_error(ErrorKind::kUsage, "as many pictures", [] {
    likelihood({1}, {1, 2}, 2, 1, 10);
  });
}

TEST(Report, TheTableSaysWhatTheReportSays) {
  const Json report = {
      {"generator", {{"name", "g.safetensors"}}},
      {"reference set", {{"split", "held-out"}, {"scenes", 7}, {"SHA-256", std::string(64, 'e')}}},
      {"caption match",
       {{"count",
         {{"value", 0.5},
          {"low", 0.25},
          {"high", 0.75},
          {"of", 6},
          {"ceiling, composed", {{"value", 0.99}}},
          {"ceiling, decoded", {{"value", 0.9}}},
          {"chance", 0.01}}}}},
      {"negative log-likelihood", {{"gap", {{"value", 0.125}, {"low", 0.1}, {"high", 0.15}}}}}};
  const std::string text = table(report);
  EXPECT_THAT(text, HasSubstr("g.safetensors on 7 held-out scenes (set eeeeeeeeeeee)"));
  EXPECT_THAT(text, HasSubstr("50.0 [25.0, 75.0]"));
  EXPECT_THAT(text, HasSubstr("99.0      90.0       1.0         6"));
  EXPECT_THAT(text, HasSubstr("0.125 [0.100, 0.150]"));
  EXPECT_THAT(text, Not(HasSubstr("Frechet")));
}

}  // namespace
}  // namespace lexel::eval
