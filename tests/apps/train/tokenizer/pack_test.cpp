#include "apps/train/tokenizer/pack.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/train/found_pictures.h"
#include "apps/train/tokenizer/recipe.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/picture_source.h"
#include "tokenizers/io/preprocess.h"

namespace lexel::train {
namespace {

/// A tar with two sets to train on, each of 12 noisy pictures, and held-out pictures of one.
class PackTraining : public testing::Test {
 protected:
  void SetUp() override {
    TarWriter tar((folder_ / "in.tar").string());
    for (int i = 0; i < 12; ++i) {
      add(tar, "much", "train", i);
      add(tar, "little", "train", i);
      if (i < 5) add(tar, "much", "heldout", i);
    }
    tar.close();
    TrainRecipe recipe = read_recipe(LEXEL_SOURCE_DIR "/recipes/smoke.json");
    recipe.model.image_size = recipe.discriminator.image_size = 32;
    recipe.mixture = "much=0.9 little=0.1";
    recipe.eval_pictures = 3;
    write_file(path("recipe.json"), to_json(recipe));
  }

  void add(TarWriter& tar, const std::string& set, const std::string& split, int number) {
    const std::string key = set + split + std::to_string(number);
    const auto picture =
        encode_image(to_image(tests::random_uniform(uint64_t(number), {3, 240, 360})), "png");
    tar.add(key + ".png", picture.data(), picture.size());
    const std::string json =
        nlohmann::json({{"set", set}, {"split", split}, {"caption", key}}).dump();
    tar.add(key + ".json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
  }

  cli::TrainPackOptions options(int64_t max_mb) const {
    return {.recipe = path("recipe.json"),
            .data = {path("in.tar")},
            .output = path("out"),
            .max_mb = max_mb};
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  struct Packed {
    std::map<std::string, std::vector<FoundPicture>> train, held_out;
  };
  Packed packed() const {
    Packed result;
    std::vector<std::string> skipped;
    for (FoundPicture& one : find_pictures({path("out/data.tar")}, 1, skipped)) {
      (one.held_out ? result.held_out : result.train)[one.set].push_back(one);
    }
    EXPECT_TRUE(skipped.empty());
    return result;
  }

  tests::TemporaryFolder folder_;
  std::ostringstream log_;
};

TEST_F(PackTraining, StaysBelowTheBudgetAndGivesBytesByTheMixture) {
  pack_training(options(1), log_);
  const int64_t bytes = int64_t(std::filesystem::file_size(path("out/data.tar")));
  EXPECT_LE(bytes, 1 << 20);
  EXPECT_GT(bytes, (1 << 20) * 6 / 10) << log_.str();
  const Packed result = packed();
  ASSERT_EQ(result.train.size(), 2U);
  const auto& much = result.train.at("much");
  const auto& little = result.train.at("little");
  EXPECT_GT(much.size() * size_t(much[0].width), little.size() * size_t(little[0].width));
  EXPECT_GE(little[0].width, 3 * 32);
}

TEST_F(PackTraining, RecipeKeepsTheShareOfEachSet) {
  pack_training(options(1), log_);
  const TrainRecipe recipe = read_recipe(path("out/recipe.json"));
  const Packed result = packed();
  std::map<std::string, double> weight;
  std::istringstream words(recipe.mixture);
  for (std::string word; words >> word;) {
    weight[word.substr(0, word.find('='))] = std::stod(word.substr(word.find('=') + 1));
  }
  EXPECT_NEAR(weight.at("much") * double(result.train.at("much").size()), 0.9 * 12, 1e-3);
  EXPECT_NEAR(weight.at("little") * double(result.train.at("little").size()), 0.1 * 12, 1e-3);
}

TEST_F(PackTraining, HeldOutPicturesEvaluateAsTheOriginals) {
  pack_training(options(4), log_);
  const Packed result = packed();
  ASSERT_EQ(result.held_out.at("much").size(), 3U);  // as many as the recipe evaluates
  const PictureBytes& bytes = result.held_out.at("much")[0].bytes;
  const Preprocess preprocess{32, "crop", "bicubic"};
  const auto square = [&](const Image& image) {
    return to_image(prepare(image, preprocess).tiles[0]);
  };
  const Image there = square(decode_image(bytes.data.data(), bytes.data.size(), bytes.name));
  const Image here = square(to_image(tests::random_uniform(0, {3, 240, 360})));
  EXPECT_TRUE(there.pixels.equal(here.pixels));
  EXPECT_EQ(nlohmann::json::parse(bytes.json).at("caption"), "muchheldout0");
}

TEST_F(PackTraining, RefusesWhatCannotBe) {
  auto other = options(1);
  TrainRecipe recipe = read_recipe(path("recipe.json"));
  recipe.mixture = "more=1";
  write_file(path("other.json"), to_json(recipe));
  other.recipe = path("other.json");
  tests::expect_error(ErrorKind::kUsage, "mixture: no set 'more' in the data",
                      [&] { pack_training(other, log_); });
  other = options(1);
  other.data = {path("none.tar")};
  tests::expect_error(ErrorKind::kIo, "none.tar", [&] { pack_training(other, log_); });
}

}  // namespace
}  // namespace lexel::train
