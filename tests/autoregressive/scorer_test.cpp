#include "autoregressive/scorer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/autoregressive/tiny_scorer.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel {
namespace {

using tests::captions;
using tests::english;
using tests::expect_error;
using tests::pictures;

TEST(Scorer, LearnsThirtyTwoPairsByHeart) {
  ar::ScorerModel model = ar::make_scorer(tests::tiny_scorer(), 3, at::kCPU);
  const ParameterList list = ar::parameters(model);
  require_gradients(list, true);
  const at::Tensor images = pictures(32);
  const EncodedCaptions text = encode_captions(*english(), captions(32), 24);
  std::map<std::string, at::Tensor> first, second;  // Adam's moments
  for (int step = 1; step <= 120; ++step) {
    ar::contrastive_loss(ar::embed_pictures(model, images),
                         ar::embed_texts(model, text.ids, text.lengths), model.log_scale)
        .backward();
    const at::NoGradGuard no_grad;
    for (const Parameter& parameter : list) {
      at::Tensor& x = *parameter.tensor;
      at::Tensor& m = first.try_emplace(parameter.name, at::zeros_like(x)).first->second;
      at::Tensor& v = second.try_emplace(parameter.name, at::zeros_like(x)).first->second;
      m.mul_(0.9).add_(x.grad(), 0.1);
      v.mul_(0.95).addcmul_(x.grad(), x.grad(), 0.05);
      x.addcdiv_(m / (1.0 - std::pow(0.9, step)),
                 (v / (1.0 - std::pow(0.95, step))).sqrt().add_(1e-8), -2e-3);
      x.mutable_grad().reset();
    }
  }
  require_gradients(list, false);
  const Scorer scorer(model, english());
  int64_t found = 0;
  for (int64_t k = 0; k < 32; ++k) {
    const at::Tensor scores =
        scorer.score(images, std::vector<std::string>(32, captions(32)[static_cast<size_t>(k)]));
    found += scores.argmax().item<int64_t>() == k;
  }
  EXPECT_EQ(found, 32);
}

TEST(Scorer, ARowDependsOnItsPairAlone) {
  const Scorer scorer(ar::make_scorer(tests::tiny_scorer(), 3, at::kCPU), english());
  const at::Tensor images = pictures(5);
  std::vector<std::string> texts = captions(4);
  texts.push_back("");
  const at::Tensor together = scorer.score(images, texts);
  ASSERT_EQ(together.sizes(), at::IntArrayRef{5});
  for (int64_t k = 0; k < 5; ++k) {
    EXPECT_TRUE(at::equal(scorer.score(images.narrow(0, k, 1), {texts[static_cast<size_t>(k)]}),
                          together.narrow(0, k, 1)));
  }
  EXPECT_LE(together.abs().max().item<float>(), 1.0f);
  EXPECT_EQ(scorer.score(images.narrow(0, 0, 0), {}).size(0), 0);
}

TEST(Scorer, TakesPicturesOfAnySize) {
  const Scorer scorer(ar::make_scorer(tests::tiny_scorer(), 3, at::kCPU), english());
  const at::Tensor small = at::full({1, 3, 32, 32}, 0.25f), large = at::full({1, 3, 77, 77}, 0.25f);
  EXPECT_NEAR(scorer.score(small, {"a red fish"}).item<float>(),
              scorer.score(large, {"a red fish"}).item<float>(), 1e-5f);
}

TEST(Scorer, SaysWhatIsWrong) {
  const Scorer scorer(ar::make_scorer(tests::tiny_scorer(), 3, at::kCPU), english());
  expect_error(ErrorKind::kUsage, "expected one caption a picture, got 1 for 2",
               [&] { scorer.score(pictures(2), {"a"}); });
  expect_error(ErrorKind::kUsage, "expected (B, 3, S, S) float32", [&] {
    scorer.score(at::zeros({1, 3, 32, 16}), {"a"});
  });
  expect_error(ErrorKind::kBadData, "caption 1: text is not UTF-8 at byte 0", [&] {
    scorer.score(pictures(2), {"a", "\xFF"});
  });
  ar::ScorerConfig config = tests::tiny_scorer();
  ++config.text_vocabulary;
  expect_error(ErrorKind::kUsage, "expected a text tokenizer of",
               [&] { Scorer(ar::make_scorer(config, 3, at::kCPU), english()); });
  config.heads = 3;
  expect_error(ErrorKind::kUsage, "heads: expected a divisor",
               [&] { ar::make_scorer(config, 3, at::kCPU); });
}

class ScorerFile : public testing::Test {
 protected:
  ModelFile file(at::ScalarType stored = at::kFloat) const {
    return scorer_file(model_, *english(), "{}", "CC0-1.0", stored);
  }
  std::string write(const ModelFile& written) const {
    write_model_file(path_, written);
    return path_;
  }
  void refuse(const ModelFile& written, const char* why,
              ErrorKind kind = ErrorKind::kBadData) const {
    write(written);
    expect_error(kind, why, [&] { load_scorer(path_); });
  }

  tests::TemporaryFolder folder_;
  std::string path_ = (folder_ / "scorer.safetensors").string();
  ar::ScorerModel model_ = ar::make_scorer(tests::tiny_scorer(), 3, at::kCPU);
};

TEST_F(ScorerFile, ScoresAreTheSameAfterwards) {
  const Scorer loaded = load_scorer(write(file()));
  EXPECT_TRUE(at::equal(loaded.score(pictures(3), captions(3)),
                        Scorer(model_, english()).score(pictures(3), captions(3))));
  EXPECT_EQ(loaded.text().fingerprint(), english()->fingerprint());
  const Scorer halved = load_scorer(write(file(at::kBFloat16)));
  EXPECT_LT(halved.score(pictures(3), captions(3))
                .sub(loaded.score(pictures(3), captions(3)))
                .abs()
                .max()
                .item<float>(),
            0.05f);
}

TEST_F(ScorerFile, RefusesWhatIsNoScorer) {
  ModelFile other = file();
  other.kind = "vit_vqgan";
  refuse(other, "expected a model of kind scorer", ErrorKind::kUnsupported);
  ModelFile without = file();
  without.tensors.erase("text_tokenizer");
  refuse(without, "\"text_tokenizer\" is missing");
  ModelFile less = file();
  less.tensors.erase("log_scale");
  refuse(less, "\"log_scale\" is missing");
  ModelFile more = file();
  more.tensors["stray"] = at::zeros({1});
  refuse(more, "\"stray\" is unexpected");
  ModelFile reshaped = file();
  reshaped.tensors["text.positions"] = at::zeros({3, 3});
  refuse(reshaped, "\"text.positions\": expected shape");
  ModelFile garbled = file();
  garbled.tensors["text_tokenizer"] = at::zeros({100}, at::kByte);
  refuse(garbled, "not a text tokenizer");
  ModelFile config = file();
  config.config = R"({"image_size": 32})";
  refuse(config, "is missing");
  ModelFile huge = file();
  huge.config.replace(huge.config.find("\"text_depth\":1"), 14, "\"text_depth\":9");
  refuse(huge, "is missing");
  write_file(path_, "not a model");
  EXPECT_THROW(load_scorer(path_), Error);
  expect_error(ErrorKind::kIo, "absent",
               [&] { load_scorer((folder_ / "absent.safetensors").string()); });
}

}  // namespace
}  // namespace lexel
