#include "apps/train/detector/detector_task.h"
#include "apps/train/detector/recipe.h"
#include "apps/train/options.h"
#include "apps/train/task_recipe.h"

namespace lexel::cli {

int run_train_detector(const TrainDetectorOptions& options) {
  const auto recipe = train::recipe_of<train::DetectorRecipe>(options.task, "detector");
  const auto task = train::make_detector_task(
      train::recipe_fields::write(recipe),
      {options.sprites, options.backgrounds, options.tokenizer}, options.task.device);
  train::run_task(*task, train::run_options(options.task));
  return 0;
}

}  // namespace lexel::cli
