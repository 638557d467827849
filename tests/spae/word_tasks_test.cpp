#include "spae/word_tasks.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::spae {
namespace {

using tests::expect_error;
using Words = std::vector<std::string>;

Words numbered(int64_t count) {
  Words words;
  for (int64_t i = 0; i < count; ++i) words.push_back(concat("w", i));
  return words;
}

Words at(const Words& words, const std::vector<size_t>& places) {
  Words result;
  for (const size_t place : places) result.push_back(words[place]);
  return result;
}

TEST(WordTasks, CountThePapersPyramids) {
  EXPECT_EQ(num_words({1, 2, 4, 8, 16, 16}), 597);
  EXPECT_EQ(num_words({1, 2, 4, 8, 16, 16, 16, 16}), 1109);
  expect_error(ErrorKind::kUsage, "sides in 1..1024, got 0", [] { num_words({1, 0}); });
}

TEST(WordTasks, TurnEachLayerClockwise) {
  // 1 2    3 1
  // 3 4    4 2
  EXPECT_EQ(moved_words(WordTask::kRotate, numbered(5), {1, 2}),
            (Words{"w0", "w3", "w1", "w4", "w2"}));
  Words words = numbered(21);
  for (int i = 0; i < 4; ++i) words = moved_words(WordTask::kRotate, words, {1, 2, 4});
  EXPECT_EQ(words, numbered(21));
  expect_error(ErrorKind::kUsage, "expected 5 words, got 4", [] {
    moved_words(WordTask::kRotate, numbered(4), {1, 2});
  });
}

TEST(WordTasks, ShiftAQuarterToTheRight) {
  const Words moved = moved_words(WordTask::kShift, numbered(16), {4});
  EXPECT_EQ(at(moved, {0, 1, 2, 3}), (Words{"w3", "w0", "w1", "w2"}));
  EXPECT_EQ(at(moved, {12, 13, 14, 15}), (Words{"w15", "w12", "w13", "w14"}));
  EXPECT_EQ(moved_words(WordTask::kDeblur, numbered(16), {4}), numbered(16));
}

TEST(WordTasks, HideTheMiddleOrTheLowerHalf) {
  const std::vector<bool> middle = hidden_places(WordTask::kInpaint, {1, 4});
  const std::vector<bool> wanted = {true,                        // the one place of layer 1
                                    false, false, false, false,  //
                                    false, true,  true,  false,  //
                                    false, true,  true,  false,  //
                                    false, false, false, false};
  EXPECT_EQ(middle, wanted);
  const std::vector<bool> fine = hidden_places(WordTask::kInpaint, {16});
  EXPECT_EQ(std::ranges::count(fine, true), 64);  // 8 x 8 of 16 x 16
  const std::vector<bool> lower = hidden_places(WordTask::kOutpaint, {1, 2});
  EXPECT_EQ(lower, (std::vector<bool>{true, false, false, true, true}));
  const std::vector<bool> none = hidden_places(WordTask::kRotate, {2});
  EXPECT_EQ(std::ranges::count(none, true), 0);
}

TEST(WordTasks, CorruptTheShareThatIsAsked) {
  const Words words = numbered(40);
  for (const double share : {0.0, 0.25, 1.0}) {
    const Words changed = corrupted(words, {"x"}, share, 7, 0);
    EXPECT_EQ(std::ranges::count(changed, "x"), std::lround(40 * share));
    EXPECT_EQ(changed, corrupted(words, {"x"}, share, 7, 0));
  }
  EXPECT_NE(corrupted(words, {"x"}, 0.25, 7, 0), corrupted(words, {"x"}, 0.25, 7, 1));
  expect_error(ErrorKind::kUsage, "a share in 0..1", [&] { corrupted(words, {"x"}, 1.5, 7, 0); });
  const std::vector<double> shares = falling_corruption(10);
  EXPECT_EQ(shares.size(), 10);
  EXPECT_DOUBLE_EQ(shares.front(), 0.5);
  EXPECT_NEAR(shares.back(), 0.23, 1e-12);
}

TEST(WordTasks, MakePairs) {
  const std::vector<Words> pictures = {numbered(5), numbered(5)};
  const std::vector<int64_t> sides = {1, 2};
  const auto blurred = task_pairs(WordTask::kDeblur, pictures, sides, {"x"}, 1);
  EXPECT_EQ(blurred[0].output, pictures[0]);
  EXPECT_EQ(std::ranges::count(blurred[0].input, "x"), 3);  // half of 5, rounded
  EXPECT_EQ(std::ranges::count(blurred[1].input, "x"), 2);  // 0.47 of 5
  const auto cut = task_pairs(WordTask::kOutpaint, pictures, sides, {"x"}, 1);
  EXPECT_EQ(cut[0].input, (Words{"", "w1", "w2", "", ""}));
  const auto turned = task_pairs(WordTask::kRotate, pictures, sides, {"x"}, 1);
  EXPECT_EQ(turned[1].input, pictures[1]);
  EXPECT_EQ(turned[1].output, (Words{"w0", "w3", "w1", "w4", "w2"}));
  expect_error(ErrorKind::kUsage, "a task on pictures, got caption",
               [&] { task_pairs(WordTask::kCaption, pictures, sides, {"x"}, 1); });
  EXPECT_EQ(word_task("inpaint"), WordTask::kInpaint);
  expect_error(ErrorKind::kUsage, "expected deblur, inpaint, outpaint, rotate, shift or caption",
               [] { word_task("paint"); });
}

TEST(WordTasks, PlanPassesThatCoverEachWordOnce) {
  const auto plan = progressive_plan({1, 2, 2}, 3, 2);
  const std::vector<DrawingPass> wanted = {{0, 1, 0}, {1, 4, 1}, {4, 5, 4}, {5, 6, 5},
                                           {6, 7, 5}, {7, 8, 5}, {8, 9, 5}};
  ASSERT_EQ(plan.size(), wanted.size());
  for (size_t i = 0; i < plan.size(); ++i) {
    EXPECT_EQ(plan[i].begin, wanted[i].begin) << i;
    EXPECT_EQ(plan[i].end, wanted[i].end) << i;
    EXPECT_EQ(plan[i].known, wanted[i].known) << i;  // a parallel layer sees none of its own words
  }
  EXPECT_EQ(progressive_plan({1, 2, 4, 8, 16, 16}, 2, 5).size(), 1 + 2 + 8 + 32 + 128 + 256);
  expect_error(ErrorKind::kUsage, "a layer in 0..1", [] { progressive_plan({1}, 1, 2); });
}

}  // namespace
}  // namespace lexel::spae
