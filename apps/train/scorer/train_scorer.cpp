#include "apps/data/compose/composer.h"
#include "apps/train/options.h"
#include "apps/train/scorer/recipe.h"
#include "apps/train/scorer/scorer_task.h"
#include "apps/train/task_recipe.h"
#include "kernels/device.h"
#include "tokenizers/load.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel::cli {
namespace {

/// The composer's own scenes of 128 pixels, scaled.
data::ComposeConfig scenes_of_size(int64_t pixels) {
  data::ComposeConfig config;
  const auto scaled = [&](int64_t& length) { length = length * pixels / config.canvas; };
  scaled(config.grid);
  scaled(config.sizes.small);
  scaled(config.sizes.low);
  scaled(config.sizes.high);
  scaled(config.sizes.large);
  config.canvas = pixels;
  return config;
}

}  // namespace

int run_train_scorer(const TrainScorerOptions& options) {
  const auto recipe = train::recipe_of<train::ScorerRecipe>(options.task, "scorer");
  const at::Device device = resolve_device(options.task.device);
  std::shared_ptr<const TextTokenizer> text = load_text_tokenizer(options.text);
  const std::unique_ptr<ImageTokenizer> tokenizer =
      recipe.decoded > 0.0 ? load_image_tokenizer(options.tokenizer, options.task.device) : nullptr;
  const data::ComposeConfig scenes = scenes_of_size(recipe.model.image_size);
  const data::Composer composer(options.sprites, options.backgrounds,
                                static_cast<uint64_t>(recipe.schedule.seed), scenes);
  train::ScorerTask task(recipe, std::move(text), composer, tokenizer.get(), device);
  train::run_task(task, train::run_options(options.task));
  return 0;
}

}  // namespace lexel::cli
