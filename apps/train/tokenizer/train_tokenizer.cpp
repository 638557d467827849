#include <csignal>
#include <filesystem>
#include <iostream>

#include "apps/train/options.h"
#include "apps/train/tokenizer/recipe.h"
#include "apps/train/tokenizer/trainer.h"
#include "kernels/check.h"
#include "tokenizers/io/model_file.h"

namespace lexel::cli {
namespace {

volatile std::sig_atomic_t g_stop = 0;  // the only thing that a signal handler may write

/// SIGINT and SIGTERM ask the run to stop; a second one ends the process as usual.
class StopOnSignal {
 public:
  StopOnSignal() {
    g_stop = 0;
    struct sigaction action = {};
    action.sa_handler = [](int) { g_stop = 1; };
    action.sa_flags = SA_RESETHAND;
    sigaction(SIGINT, &action, &interrupt_);
    sigaction(SIGTERM, &action, &terminate_);
  }
  ~StopOnSignal() {
    sigaction(SIGINT, &interrupt_, nullptr);
    sigaction(SIGTERM, &terminate_, nullptr);
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

 private:
  struct sigaction interrupt_ = {}, terminate_ = {};
};

train::TrainRecipe recipe_of(const TrainOptions& options) {
  train::TrainRecipe recipe;
  if (options.resume) {
    const std::string path = options.output + "/checkpoint.safetensors";
    check(options.recipe.empty(), ErrorKind::kUsage,
          "--resume goes on with the recipe of the checkpoint; leave --recipe out");
    recipe = train::recipe_from_json(read_model_file_summary(path).file.config, path);
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
  const StopOnSignal stop_on_signal;
  train::Trainer trainer(options, recipe);
  trainer.run(g_stop);
  if (!options.quiet) {
    std::cerr << options.output << (g_stop ? ": stopped; --resume goes on\n" : ": done\n");
  }
  return 0;
}

}  // namespace lexel::cli
