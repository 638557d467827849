#include "apps/train/guide/word_match.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::train {
namespace {

using ::testing::ElementsAre;

data::PictureWords truth(std::vector<int64_t> names, std::vector<int64_t> others = {}) {
  data::PictureWords words;
  words.names = std::move(names);
  words.others = std::move(others);
  return words;
}

TEST(WordMatch, CountsNamesAndAnyWordsByHand) {
  const at::Tensor said = at::tensor({1, 2, 3, 4, 5, 6, 7, 8}, at::kLong).reshape({4, 2});
  const WordMatch match =
      word_match(said, {truth({2}), truth({9}, {3}), truth({5, 6}), truth({9}, {9})});
  EXPECT_DOUBLE_EQ(match.name_first, 0.25);  // the third
  EXPECT_DOUBLE_EQ(match.name, 0.5);         // the first and the third
  EXPECT_DOUBLE_EQ(match.any_first, 0.5);    // the second and the third
  EXPECT_DOUBLE_EQ(match.any, 0.75);
}

TEST(WordMatch, ThePriorSaysTheMostFrequentWords) {
  const std::vector<data::PictureWords> training{truth({1}, {3}), truth({1}, {3}), truth({2}, {3})};
  EXPECT_THAT(frequent_words(training, 0.4, 2), ElementsAre(1, 3));
  EXPECT_THAT(frequent_words(training, 1.0, 2), ElementsAre(3, 1));
  EXPECT_DOUBLE_EQ(prior_match(training, {truth({3}), truth({2})}, 0.4, 2).name, 0.5);
}

TEST(WordMatch, RejectsAnotherNumberOfPictures) {
  tests::expect_error(ErrorKind::kUsage, "expected (1, words) int64", [] {
    word_match(at::zeros({2, 5}, at::kLong), {truth({1})});
  });
}

}  // namespace
}  // namespace lexel::train
