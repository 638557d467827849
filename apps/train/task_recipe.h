#pragma once

// Private to apps/train (a JSON type in a header): a kind's recipe from its command line.

#include <string>

#include "apps/train/checkpoint.h"
#include "apps/train/recipe_fields.h"
#include "apps/train/task.h"
#include "apps/train/task_options.h"

namespace lexel::train {

/// The recipe of a run: the file's, or with --resume the checkpoint's; then --set, --minutes, --steps, --batch, --seed.
/// `Recipe` has a TaskSchedule called `schedule`, visit_fields() and validate().
///
/// kind     of training, as Task::kind()
/// throws   Error(kUsage) no recipe, or one beside --resume, or a value that cannot be; Error(kBadData), Error(kIo)
template <class Recipe>
Recipe recipe_of(const cli::TrainTaskOptions& options, const std::string& kind) {
  Recipe recipe;
  if (options.resume) {
    check(options.recipe.empty(), ErrorKind::kUsage,
          "--resume goes on with the recipe of the checkpoint; leave --recipe out");
    const std::string path = options.output + "/checkpoint.safetensors";
    recipe = recipe_fields::parse<Recipe>(checkpoint_recipe(path, kind), path);
  } else {
    check(!options.recipe.empty(), ErrorKind::kUsage, "--recipe is needed");
    recipe = recipe_fields::read<Recipe>(options.recipe);
  }
  for (const std::string& setting : options.settings) recipe_fields::set(recipe, setting);
  if (options.minutes >= 0) recipe.schedule.minutes = options.minutes;
  if (options.steps >= 0) recipe.schedule.steps = options.steps;
  if (options.batch >= 0) recipe.schedule.batch = options.batch;
  if (options.seed >= 0) recipe.schedule.seed = options.seed;
  validate(recipe);
  return recipe;
}

inline RunOptions run_options(const cli::TrainTaskOptions& options) {
  return {.output = options.output,
          .resume = options.resume,
          .device = options.device,
          .command = options.command,
          .quiet = options.quiet,
          .mesh = nullptr};  // for who makes one
}

}  // namespace lexel::train
