#include <c10/core/DeviceGuard.h>
#include <filesystem>
#include <iostream>

#include "apps/train/checkpoint.h"
#include "apps/train/memory.h"
#include "apps/train/options.h"
#include "apps/train/stop_signal.h"
#include "apps/train/team.h"
#include "apps/train/tokenizer/recipe.h"
#include "apps/train/tokenizer/sharded_stacks.h"
#include "apps/train/tokenizer/trainer.h"
#include "kernels/check.h"

namespace lexel::cli {
namespace {

train::TrainRecipe recipe_of(const TrainOptions& options) {
  train::TrainRecipe recipe;
  if (options.resume) {
    const std::string path = options.output + "/checkpoint.safetensors";
    check(options.recipe.empty(), ErrorKind::kUsage,
          "--resume goes on with the recipe of the checkpoint; leave --recipe out");
    recipe = train::recipe_from_json(train::checkpoint_recipe(path, "tokenizer"), path);
  } else {
    check(!options.recipe.empty(), ErrorKind::kUsage, "--recipe is needed");
    recipe = train::read_recipe(options.recipe);
    if (!options.preset.empty()) recipe.model = vqgan::preset(options.preset);
  }
  for (const std::string& setting : options.settings) train::set_field(recipe, setting);
  if (options.minutes >= 0) recipe.minutes = options.minutes;
  if (options.steps >= 0) recipe.steps = options.steps;
  if (options.batch >= 0) recipe.batch = options.batch;
  if (options.seed >= 0) recipe.seed = options.seed;
  train::validate(recipe);
  return recipe;
}

}  // namespace

int run_train_tokenizer(const TrainOptions& options) {
  check(!options.output.empty(), ErrorKind::kUsage, "--output is needed: the folder of the run");
  check(!options.data.empty(), ErrorKind::kUsage,
        "--data is needed: folders, tars or lists of pictures");
  const train::TrainRecipe recipe = recipe_of(options);
  // Before ranks meet: none waits for another that has refused.
  train::check_tokenizer_mesh(parallel::parse_mesh(options.mesh), recipe.model);
  train::keep_freed_memory();
  const train::StopOnSignal stop;
  const parallel::World world = train::world_of(options);
  parallel::Mesh mesh = train::mesh_of(options, world);
  const c10::DeviceGuard current(train::device_of_rank(options.device, world));
  parallel::run_as_rank(mesh.world(),
                        [&] { train::Trainer(options, recipe, mesh).run(stop.flag()); });
  if (!options.quiet && mesh.world().rank == 0) {
    std::cerr << options.output << (stop.asked() ? ": stopped; --resume goes on\n" : ": done\n");
  }
  return 0;
}

}  // namespace lexel::cli
