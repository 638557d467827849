#include "apps/train/detector/command.h"

#include "apps/train/command.h"

namespace lexel::cli {

void define_train_detector(CLI::App& train, TrainDetectorOptions& options) {
  CLI::App* detector = train.add_subcommand(
      "detector", "Train the detector that judges generated scenes (lexel eval generator)");
  define_task_options(*detector, options.task);
  add_scene_options(*detector, options.sprites, options.backgrounds)->capture_default_str();
  add_tokenizer_option(*detector, options.tokenizer);
  detector->footer(
      "It learns from sprites strewn by chance, not from composed scenes; it is judged on these.\n"
      "Example: lexel train detector --recipe recipes/detector-128.json --sprites data/sprites.tar "
      "--output runs/detector");
}

}  // namespace lexel::cli
