#include "spae/episodes.h"

#include <gtest/gtest.h>
#include <map>
#include <set>

#include "tests/support/expect_error.h"

namespace lexel::spae {
namespace {

using tests::expect_error;

// Six concepts with 2, 3, 4, 5, 6 and 7 pictures.
std::vector<std::string> concepts() {
  std::vector<std::string> all;
  for (int i = 0; i < 6; ++i) {
    for (int n = 0; n < i + 2; ++n) all.push_back(std::string(1, static_cast<char>('a' + i)));
  }
  return all;
}

TEST(Episodes, ShowEachClassAsOftenAndAskForAnotherPicture) {
  const std::vector<std::string> all = concepts();
  const EpisodeOptions options{.ways = 3, .shots = 3, .count = 200, .seed = 5};
  std::map<std::string, int> answers;
  for (const Episode& episode : make_episodes(all, options)) {
    ASSERT_EQ(episode.classes.size(), 3);
    const std::set<std::string> distinct(episode.classes.begin(), episode.classes.end());
    EXPECT_EQ(distinct.size(), 3);
    EXPECT_FALSE(distinct.contains("a") || distinct.contains("b"));  // too few pictures
    ASSERT_EQ(episode.shots.size(), 9);
    std::set<int64_t> used(episode.shots.begin(), episode.shots.end());
    EXPECT_EQ(used.size(), 9);
    EXPECT_FALSE(used.contains(episode.query));
    for (size_t round = 0; round < 3; ++round) {
      std::set<std::string> shown;
      for (size_t i = 0; i < 3; ++i)
        shown.insert(all[static_cast<size_t>(episode.shots[3 * round + i])]);
      EXPECT_EQ(shown, distinct);
    }
    const std::string& answer = episode.classes[static_cast<size_t>(episode.answer)];
    EXPECT_EQ(all[static_cast<size_t>(episode.query)], answer);
    ++answers[answer];
  }
  EXPECT_EQ(answers.size(), 4);
  for (const auto& [word, count] : answers) EXPECT_GT(count, 25) << word;
}

TEST(Episodes, DependOnSeedAndNumberAlone) {
  EpisodeOptions options{.ways = 2, .shots = 1, .count = 10, .seed = 5};
  const auto ten = make_episodes(concepts(), options);
  options.count = 4;
  const auto four = make_episodes(concepts(), options);
  for (size_t i = 0; i < four.size(); ++i) {
    EXPECT_EQ(four[i].classes, ten[i].classes);
    EXPECT_EQ(four[i].shots, ten[i].shots);
    EXPECT_EQ(four[i].query, ten[i].query);
  }
  options.seed = 6;
  const auto others = make_episodes(concepts(), options);
  EXPECT_NE(std::pair(others[0].shots, others[1].shots), std::pair(ten[0].shots, ten[1].shots));
}

TEST(Episodes, SayWhenThereAreTooFewPictures) {
  EpisodeOptions options{.ways = 5, .shots = 3};
  expect_error(ErrorKind::kUsage, "at least 5 concepts with 4 pictures each, got 4",
               [&] { make_episodes(concepts(), options); });
  options.ways = 1;
  expect_error(ErrorKind::kUsage, "ways >= 2", [&] { make_episodes(concepts(), options); });
}

}  // namespace
}  // namespace lexel::spae
