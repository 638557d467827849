#include "apps/train/generator/text_pretraining.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel::train {
namespace {

class MaskCaptions : public testing::Test {
 protected:
  MaskCaptions() : text_(text_tokenizer_from_bytes(tests::english_model(), "test")) {
    const EncodedCaptions encoded = encode_captions(*text_, tests::english_captions(), 24);
    captions_.text = encoded.ids;
    captions_.lengths = encoded.lengths;
  }
  std::unique_ptr<TextTokenizer> text_;
  ar::Condition captions_;
};

TEST_F(MaskCaptions, HidesAboutAShareOfTheRealPiecesAndRemembersThem) {
  const MaskedCaptions masked = mask_captions(captions_, *text_, 1, 5);
  const int64_t real = (captions_.lengths - 1).sum().item<int64_t>();
  EXPECT_NEAR(double(masked.places.numel()) / double(real), 0.15, 0.04);
  EXPECT_TRUE(captions_.text.flatten().index_select(0, masked.places).equal(masked.pieces));
  const at::Tensor now = masked.condition.text.flatten().index_select(0, masked.places);
  const double symbols = now.eq(text_->symbols().unknown).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(symbols, 0.8, 0.08);
  // Nothing else has changed, ends and padding among it.
  const at::Tensor changed = masked.condition.text.ne(captions_.text);
  EXPECT_LE(changed.sum().item<int64_t>(), masked.places.numel());
  EXPECT_EQ(masked.pieces.eq(text_->symbols().end).sum().item<int64_t>(), 0);
  for (int64_t row = 0; row < captions_.text.size(0); ++row) {
    const int64_t columns = captions_.text.size(1);
    const at::Tensor here =
        masked.places.ge(row * columns).logical_and(masked.places.lt((row + 1) * columns));
    EXPECT_GE(here.sum().item<int64_t>(), 1) << row;
  }
}

TEST_F(MaskCaptions, DependsOnSeedAndNumberOnly) {
  const auto hidden = [&](uint64_t seed, int64_t number) {
    return mask_captions(captions_, *text_, seed, number).condition.text;
  };
  EXPECT_TRUE(hidden(1, 5).equal(hidden(1, 5)));
  EXPECT_FALSE(hidden(1, 5).equal(hidden(1, 6)));
  EXPECT_FALSE(hidden(1, 5).equal(hidden(2, 5)));
}

TEST_F(MaskCaptions, EmptyCaptionHidesItsEnd) {
  const EncodedCaptions empty = encode_captions(*text_, {""}, 8);
  ar::Condition condition;
  condition.text = empty.ids;
  condition.lengths = empty.lengths;
  const MaskedCaptions masked = mask_captions(condition, *text_, 1, 0);
  ASSERT_EQ(masked.places.numel(), 1);
  EXPECT_EQ(masked.pieces[0].item<int64_t>(), text_->symbols().end);
}

}  // namespace
}  // namespace lexel::train
