#include "apps/train/generator/caption_noise.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <vector>

#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel::train {
namespace {

constexpr int64_t kColumns = 24;

class CaptionNoise : public testing::Test {
 protected:
  CaptionNoise() : text_(text_tokenizer_from_bytes(tests::english_model(), "test")) {}

  ar::Condition condition(const std::vector<std::string>& captions) const {
    const EncodedCaptions encoded = encode_captions(*text_, captions, kColumns);
    ar::Condition result;
    result.text = encoded.ids;
    result.lengths = encoded.lengths;
    return result;
  }
  ar::Condition noisy(const ar::Condition& captions, double share, uint64_t seed = 1,
                      int64_t first = 0) const {
    return noisy_captions(captions, *text_, share, seed, first);
  }
  static std::vector<int64_t> row(const ar::Condition& captions, int64_t i) {
    const at::Tensor ids = captions.text[i].contiguous();
    const auto* begin = ids.const_data_ptr<int64_t>();
    return {begin, begin + captions.lengths[i].item<int64_t>()};
  }
  std::unique_ptr<TextTokenizer> text_;
};

/// How many pieces two captions share at their beginning and, beyond those, at their end.
int64_t kept(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  const size_t shorter = std::min(a.size(), b.size());
  size_t head = 0, tail = 0;
  while (head < shorter && a[head] == b[head]) ++head;
  while (tail < shorter - head && a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) ++tail;
  return int64_t(head + tail);
}

TEST_F(CaptionNoise, WithoutAShareTheCaptionsThemselvesAreRead) {
  const ar::Condition captions = condition(tests::english_captions());
  EXPECT_TRUE(noisy(captions, 0.0).text.is_same(captions.text));
  EXPECT_FALSE(noisy({}, 1.0).text.defined());
}

TEST_F(CaptionNoise, PutsOneRunAndKeepsEveryOtherPieceInOrder) {
  const std::vector<std::string> captions(400, "a red fish");
  const ar::Condition before = condition(captions);
  const ar::Condition after = noisy(before, 1.0);
  const std::vector<int64_t> old = row(before, 0);
  for (int64_t i = 0; i < 400; ++i) {
    const std::vector<int64_t> now = row(after, i);
    EXPECT_GE(kept(old, now), int64_t(old.size()) - 1) << i;  // the end symbol among them
    EXPECT_LE(now.size(), old.size() + kMostStrayPieces) << i;
    EXPECT_EQ(now.back(), text_->symbols().end) << i;
    const at::Tensor rest = after.text[i].narrow(0, int64_t(now.size()), kColumns - now.size());
    EXPECT_TRUE(rest.eq(text_->symbols().padding).all().item<bool>()) << i;
  }
}

TEST_F(CaptionNoise, ChangesItsShareOfCaptionsAndLeavesItsInputAlone) {
  const std::vector<std::string> captions(1000, "a red fish");
  const ar::Condition before = condition(captions);
  const at::Tensor text = before.text.clone(), lengths = before.lengths.clone();
  const ar::Condition after = noisy(before, 0.3);
  EXPECT_NEAR(after.text.ne(text).any(1).to(at::kDouble).mean().item<double>(), 0.3, 0.06);
  EXPECT_TRUE(before.text.equal(text));
  EXPECT_TRUE(before.lengths.equal(lengths));
}

TEST_F(CaptionNoise, EmptyCaptionsStayUnconditional) {
  const ar::Condition empty = condition(std::vector<std::string>(50, ""));
  EXPECT_TRUE(noisy(empty, 1.0).text.equal(empty.text));
}

TEST_F(CaptionNoise, LongCaptionsLoseTheirTail) {
  std::string words;
  for (int i = 0; i < 40; ++i) words += "fish ";
  const ar::Condition full = condition(std::vector<std::string>(50, words));
  const ar::Condition after = noisy(full, 1.0);
  EXPECT_EQ(after.lengths.max().item<int64_t>(), kColumns);
  for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(row(after, i).back(), text_->symbols().end) << i;
}

TEST_F(CaptionNoise, DependsOnTheSeedAndTheSamplesNumberOnly) {
  const ar::Condition captions = condition(std::vector<std::string>(20, "a red fish"));
  ar::Condition part;
  part.text = captions.text.narrow(0, 5, 10);
  part.lengths = captions.lengths.narrow(0, 5, 10);
  const at::Tensor all = noisy(captions, 1.0, 7, 100).text;
  EXPECT_TRUE(noisy(part, 1.0, 7, 105).text.equal(all.narrow(0, 5, 10)));
  EXPECT_FALSE(noisy(captions, 1.0, 8, 100).text.equal(all));
}

}  // namespace
}  // namespace lexel::train
