#include "apps/train/scorer/scorer_task.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "apps/data/compose/grammar.h"
#include "apps/train/recipe_fields.h"
#include "autoregressive/scorer.h"
#include "tests/apps/programs_fixture.h"
#include "tests/apps/train/scorer/tiny_sprites.h"
#include "tests/support/expect_error.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/sentencepiece_tokenizer.h"
#include "tokenizers/train_text_tokenizer.h"

namespace lexel::train {
namespace {

using ::testing::HasSubstr;
using tests::expect_error;
using tests::read_text;
using tests::TemporaryFolder;

/// Makes every picture half as bright, as if it were its decoding.
class Darkener : public ImageTokenizer {
 public:
  explicit Darkener(int64_t size) { info_.image_size = size; }
  const TokenizerInfo& info() const override { return info_; }
  at::Tensor encode(const at::Tensor& images) const override { return images; }
  at::Tensor decode(const at::Tensor& tokens) const override { return tokens * 0.5; }

 private:
  TokenizerInfo info_;
};

ScorerRecipe tiny_recipe() {
  ScorerRecipe recipe;
  recipe.schedule.batch = 24;
  recipe.schedule.steps = 150;
  recipe.schedule.compute = "fp32";
  recipe.schedule.learning_rate = 3e-3;
  recipe.schedule.warmup_steps = 10;
  recipe.schedule.eval_steps = 1000;
  recipe.model.image_size = 32;
  recipe.model.max_text_tokens = 24;
  recipe.model.width = 32;
  recipe.model.heads = 2;
  recipe.model.hidden = 64;
  recipe.model.picture_depth = 1;
  recipe.model.text_depth = 1;
  recipe.model.space = 32;
  recipe.decoded_scenes = 8;
  recipe.held_out = 96;
  return recipe;
}

class ScorerTraining : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    tests::write_sprites((*folder_ / "sprites.tar").string());
    composer_ =
        new data::Composer((*folder_ / "sprites.tar").string(), {}, 1, tests::tiny_scenes());
    std::vector<std::string> captions;
    for (int64_t n = 0; n < 300; ++n)
      captions.push_back(composer_->scene(n, data::Split::kTrain).caption);
    TextTrainingOptions options;
    options.vocabulary = 400;
    text_ = text_tokenizer_from_bytes(train_text_tokenizer(captions, options).serialized, "text");
  }
  static void TearDownTestSuite() {
    delete composer_;
    delete folder_;
    text_ = nullptr;
  }

  static std::string path(const std::string& name) { return (*folder_ / name).string(); }

  static inline TemporaryFolder* folder_ = nullptr;
  static inline data::Composer* composer_ = nullptr;
  static inline std::shared_ptr<const TextTokenizer> text_;
  const Darkener darkener_{32};
};

TEST_F(ScorerTraining, ABatchDependsOnItsNumberAlone) {
  ScorerScenes scenes(*composer_, &darkener_, tiny_recipe());
  const ScorerBatch first = scenes.batch(7);
  scenes.batch(8);
  const ScorerBatch again = scenes.batch(7);
  ScorerScenes resumed(*composer_, &darkener_, tiny_recipe());
  const ScorerBatch later = resumed.batch(7);
  for (const ScorerBatch* batch : {&again, &later}) {
    EXPECT_TRUE(at::equal(first.pictures, batch->pictures));
    EXPECT_EQ(first.captions, batch->captions);
    EXPECT_TRUE(at::equal(first.ignored, batch->ignored));
  }
  EXPECT_NE(first.captions, resumed.batch(8).captions);
}

TEST_F(ScorerTraining, ABatchHoldsPicturesThenChangedCaptions) {
  ScorerScenes scenes(*composer_, &darkener_, tiny_recipe());
  const ScorerBatch batch = scenes.batch(0);
  EXPECT_EQ(batch.pictures.sizes(), (at::IntArrayRef{24, 3, 32, 32}));
  EXPECT_GE(batch.captions.size(), 24U * 2);
  EXPECT_LE(batch.captions.size(), 24U * 4);
  EXPECT_EQ(batch.ignored.sizes(),
            (at::IntArrayRef{24, static_cast<int64_t>(batch.captions.size())}));
  EXPECT_FALSE(batch.ignored.narrow(1, 0, 24).diagonal().any().item<bool>());
  EXPECT_TRUE(batch.ignored.any().item<bool>());  // six things: some scenes have the same content
  ScorerRecipe recipe = tiny_recipe();
  recipe.changed_captions = 0;
  ScorerScenes plain(*composer_, &darkener_, recipe);
  EXPECT_EQ(plain.batch(0).captions.size(), 24U);
}

TEST_F(ScorerTraining, TheShareOfDecodedPicturesIsTheRecipes) {
  ScorerRecipe recipe = tiny_recipe();
  for (const auto& [decoded, dark] : {std::pair{0.0, 0}, std::pair{1.0, 24}}) {
    recipe.decoded = decoded;
    ScorerScenes scenes(*composer_, &darkener_, recipe);
    const at::Tensor brightest = scenes.batch(0).pictures.flatten(1).amax(1);  // (B)
    EXPECT_EQ(brightest.lt(0.52).sum().item<int64_t>(), dark);
  }
  expect_error(ErrorKind::kUsage, "--tokenizer is needed",
               [&] { ScorerScenes(*composer_, nullptr, tiny_recipe()); });
  const Darkener large(64);
  expect_error(ErrorKind::kUsage, "the scorer looks at 32 pixels, the tokenizer at 64",
               [&] { ScorerScenes(*composer_, &large, tiny_recipe()); });
}

TEST_F(ScorerTraining, LearnsAndWritesAScorerThatRanks) {
  const ScorerRecipe recipe = tiny_recipe();
  ScorerTask task(recipe, text_, *composer_, &darkener_, at::kCPU);
  const double before = task.evaluate(0).metrics.at("recall/composed");
  run_task(task, {.output = path("run"), .device = "cpu", .quiet = true});
  const TaskEvaluation after = task.evaluate(recipe.schedule.steps);
  EXPECT_LT(before, 0.3);
  EXPECT_GT(after.metrics.at("recall/composed"), before + 0.15);
  EXPECT_GT(after.metrics.at("recall/decoded"), before + 0.15);
  EXPECT_GT(after.metrics.at("told apart/thing composed"), 0.7);
  EXPECT_LE(after.metrics.at("interval/composed low"), after.metrics.at("recall/composed"));
  EXPECT_EQ(after.samples.size(0), static_cast<int64_t>(after.captions.size()));

  const Scorer scorer = load_scorer(path("run/model.safetensors"));
  const data::Scene scene = composer_->scene(3, data::Split::kTrain);
  const at::Tensor picture =
      scene.picture.pixels.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat).div(255.0);
  EXPECT_TRUE(std::isfinite(scorer.score(picture, {scene.caption}).item<float>()));
}

TEST_F(ScorerTraining, TheRecipeSaysWhatCannotBe) {
  ScorerRecipe recipe = tiny_recipe();
  recipe.decoded = 1.5;
  expect_error(ErrorKind::kUsage, "decoded: expected 0 to 1, got 1.5", [&] { validate(recipe); });
  recipe = tiny_recipe();
  recipe.schedule.batch = 1;
  expect_error(ErrorKind::kUsage, "batch: expected 2", [&] { validate(recipe); });
  const std::string text = recipe_fields::write(tiny_recipe());
  EXPECT_EQ(text.find("text_vocabulary"), std::string::npos);
  EXPECT_EQ(recipe_fields::write(recipe_fields::parse<ScorerRecipe>(text, "recipe")), text);
}

TEST_F(ScorerTraining, TheCommandTrains) {
  ScorerRecipe recipe = tiny_recipe();
  recipe.schedule.steps = 3;
  recipe.decoded = 0.0;
  write_file(path("recipe.json"), recipe_fields::write(recipe));
  write_file(path("text.model"), text_->serialized());
  const std::vector<std::string> command = {LEXEL_BIN_DIR "/lexel",
                                            "train",
                                            "scorer",
                                            "--recipe",
                                            path("recipe.json"),
                                            "--sprites",
                                            path("sprites.tar"),
                                            "--text",
                                            path("text.model"),
                                            "--output",
                                            path("command"),
                                            "--device",
                                            "cpu",
                                            "--quiet"};
  const tests::ProgramResult result = tests::run_program(command);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NO_THROW(load_scorer(path("command/model.safetensors")));
  EXPECT_THAT(read_text(path("command/metrics.jsonl")), HasSubstr("recall/composed"));

  std::vector<std::string> broken = command;
  broken[6] = path("absent.tar");
  const tests::ProgramResult failed = tests::run_program(broken);
  EXPECT_EQ(failed.exit_code, 4);
  EXPECT_THAT(failed.err, HasSubstr("absent.tar"));
}

}  // namespace
}  // namespace lexel::train
