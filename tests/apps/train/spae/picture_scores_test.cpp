#include "apps/train/spae/picture_scores.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/safetensors.h"

namespace lexel::train {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

at::Tensor text(const std::string& value) {
  return at::tensor(std::vector<uint8_t>(value.begin(), value.end()), at::kByte);
}

class Scores : public testing::Test {
 protected:
  std::string write(const Tensors& tensors) const {
    const std::string path = folder / "scores.safetensors";
    write_safetensors(path, {}, tensors);
    return path;
  }
  const Tensors good{{"names", text(R"(["a.png","b.png"])")},
                     {"words", text(R"(["red","cat","dog"])")},
                     {"scores", at::tensor({1.F, 2.F, 3.F, 4.F, 5.F, 6.F}).reshape({2, 3})}};
  tests::TemporaryFolder folder;
};

TEST_F(Scores, AreInTheOrderOfTheCodebook) {
  const PictureScores scores(write(good), {"cat", "red"});
  EXPECT_EQ(scores.pictures(), 2);
  EXPECT_TRUE(at::equal(scores.of("b.png"), at::tensor({5.F, 4.F})));
  EXPECT_FALSE(scores.of("c.png").defined());
}

TEST_F(Scores, RejectsWhatCannotBe) {
  const auto rejects = [&](const std::string& message, auto&& change) {
    Tensors tensors = good;
    change(tensors);
    const std::string path = write(tensors);
    tests::expect_error(ErrorKind::kBadData, message, [&] { PictureScores(path, {"cat", "red"}); });
  };
  rejects("\"names\"", [](Tensors& t) { t.erase("names"); });
  rejects("\"words\" is not a JSON array", [](Tensors& t) { t["words"] = text("7"); });
  rejects("no scores of the word \"cat\"",
          [](Tensors& t) { t["words"] = text(R"(["red","cow","dog"])"); });
  rejects("floats of shape [2, 3]", [](Tensors& t) { t["scores"] = at::zeros({3, 2}); });
  rejects("not finite", [](Tensors& t) { t["scores"] = at::full({2, 3}, NAN, at::kFloat); });
}

}  // namespace
}  // namespace lexel::train
