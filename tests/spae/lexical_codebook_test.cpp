#include "spae/lexical_codebook.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::spae {
namespace {

using testing::ElementsAre;
using tests::expect_error;

WordTable animals() {
  return {{"cat", "dog", "Dog", "a", "fish", "x1", "house"},
          at::arange(10, 17, at::kLong),
          tests::random_tensor(1, {7, 5})};
}

TEST(LexicalCodebookTest, ARuleCutsTheTable) {
  const WordRule rule = parse_word_rule(
      "# usable words\nmin_letters 3\n\nlower_case  # a to z\nwithout fish\n", "rule.txt");
  const WordTable kept = restricted(animals(), rule);
  EXPECT_THAT(kept.words, ElementsAre("cat", "dog", "house"));
  EXPECT_TRUE(at::equal(kept.ids, at::tensor({10, 11, 16}, at::kLong)));
  EXPECT_TRUE(at::equal(kept.vectors[2], animals().vectors[6]));
  EXPECT_THAT(restricted(animals(), parse_word_rule("only dog cat\nonly fish", "r")).words,
              ElementsAre("cat", "dog", "fish"));
  EXPECT_THAT(restricted(animals(), parse_word_rule("max_letters 2", "r")).words,
              ElementsAre("a", "x1"));
}

TEST(LexicalCodebookTest, BadRulesAreNamedWithTheirLine) {
  expect_error(ErrorKind::kBadData,
               "r.txt: line 2: expected min_letters and one number from 1, got",
               [] { parse_word_rule("lower_case\nmin_letters three", "r.txt"); });
  expect_error(ErrorKind::kBadData, "line 1: expected max_letters and one number from 1",
               [] { parse_word_rule("max_letters", "r"); });
  expect_error(ErrorKind::kBadData, "line 1: expected lower_case alone",
               [] { parse_word_rule("lower_case yes", "r"); });
  expect_error(ErrorKind::kBadData, "line 1: expected without and words",
               [] { parse_word_rule("without", "r"); });
  expect_error(ErrorKind::kBadData, "line 3: expected min_letters, max_letters",
               [] { parse_word_rule("\n\nupper_case", "r"); });
  expect_error(ErrorKind::kBadData, "keeps \"cow\", which the table does not have",
               [] { restricted(animals(), parse_word_rule("only cow", "r")); });
  expect_error(ErrorKind::kBadData, "keeps none of 7 words",
               [] { restricted(animals(), parse_word_rule("min_letters 9", "r")); });
}

TEST(LexicalCodebookTest, PrincipalComponentsAreThoseOfLargestVariance) {
  // Points on a line in the direction (3, 4) / 5 with a little noise in the third coordinate.
  const auto t = tests::random_tensor(2, {400, 1});
  const auto x = at::matmul(t, at::tensor({0.6F, 0.8F, 0.F}).reshape({1, 3})) +
                 0.01 * tests::random_tensor(3, {400, 3}) + 2.0;
  const WordProjection p = principal_components(x, 3);
  EXPECT_TRUE(at::allclose(p.mean, x.mean(0), 0, 1e-4));
  EXPECT_TRUE(at::allclose(p.basis.select(1, 0), at::tensor({0.6F, 0.8F, 0.F}), 0, 1e-2));
  EXPECT_TRUE(at::allclose(at::matmul(p.basis.t(), p.basis), at::eye(3), 0, 1e-5));
}

TEST(LexicalCodebookTest, ACodebookIsCentredAndOfUnitRows) {
  WordTable table = animals();
  table.vectors = tests::random_tensor(4, {7, 5}) * 3 + 5.0;
  const LexicalCodebook codebook = make_lexical_codebook(table, 3);
  EXPECT_EQ(codebook.words, table.words);
  EXPECT_EQ(codebook.codes.sizes(), at::IntArrayRef({7, 3}));
  EXPECT_EQ(codebook.semantics.sizes(), at::IntArrayRef({7, 5}));
  EXPECT_NO_THROW(validate(codebook));
  // The rows' length does not count, only where they point.
  table.vectors = table.vectors * at::arange(1, 8, at::kFloat).unsqueeze(1);
  EXPECT_TRUE(at::allclose(make_lexical_codebook(table, 3).codes, codebook.codes, 0, 1e-3));
}

TEST(LexicalCodebookTest, AtFullWidthTheCodesKeepAllAngles) {
  const WordTable table{{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"},
                        at::arange(10, at::kLong),
                        tests::random_tensor(5, {10, 4})};
  const LexicalCodebook codebook = make_lexical_codebook(table, 4);
  const auto centred = unit_rows(codebook.semantics - codebook.semantics.mean(0));
  EXPECT_TRUE(at::allclose(at::matmul(codebook.codes, codebook.codes.t()),
                           at::matmul(centred, centred.t()), 0, 1e-3));  // in half precision
}

TEST(LexicalCodebookTest, RefusesWhatCannotBe) {
  const auto refuses = [](const std::string& message, void (*change)(WordTable&)) {
    WordTable table = animals();
    change(table);
    expect_error(ErrorKind::kUsage, message, [&] { check_table(table); });
  };
  refuses("expected each word once, got \"cat\" twice", [](WordTable& t) { t.words[3] = "cat"; });
  refuses("got an empty one", [](WordTable& t) { t.words[0] = ""; });
  refuses("without blanks and control characters, got number 1",
          [](WordTable& t) { t.words[1] = "two words"; });
  refuses("got \"#\"", [](WordTable& t) { t.words[1] = "#"; });
  refuses("expected words, got none", [](WordTable& t) { t.words.clear(); });
  refuses("expected 7 int64 ids, got Float", [](WordTable& t) { t.ids = t.ids.to(at::kFloat); });
  refuses("each once, got 10", [](WordTable& t) { t.ids[4] = 10; });
  refuses("at least 0, each once, got -1", [](WordTable& t) { t.ids[4] = -1; });
  refuses("expected vectors (7, width) float32, got Float of shape [6, 5]",
          [](WordTable& t) { t.vectors = t.vectors.narrow(0, 0, 6); });
  refuses("finite vectors", [](WordTable& t) { t.vectors[2][1] = NAN; });
  LexicalCodebook codebook = make_lexical_codebook(animals(), 2);
  codebook.codes = codebook.codes * 2;
  expect_error(ErrorKind::kUsage, "expected codes of length 1, got one that is off by 1",
               [&] { validate(codebook); });
  expect_error(ErrorKind::kUsage, "expected a width of 1 to 5, got 6",
               [] { make_lexical_codebook(animals(), 6); });
}

}  // namespace
}  // namespace lexel::spae
