#include "apps/train/detector/command.h"

#include "apps/train/command.h"

namespace lexel::cli {

void define_train_detector(CLI::App& train, TrainDetectorOptions& options) {
  CLI::App* detector = train.add_subcommand(
      "detector", "Train the detector that judges generated scenes (lexel eval generator)");
  detector->add_option("--sprites", options.sprites, "Things: tar of `lexel data fetch sprites`")
      ->capture_default_str()
      ->option_text("FILE");
  detector
      ->add_option("--backgrounds", options.backgrounds,
                   "Photos behind things: files, folders, tars")
      ->option_text("INPUT...");
  detector
      ->add_option("--tokenizer", options.tokenizer,
                   "Picture tokenizer whose pictures the detector meets, too")
      ->option_text("FILE");
  define_task_options(*detector, options.task);
  detector->footer(
      "It learns from sprites strewn by chance, not from composed scenes; it is judged on these.\n"
      "Example: lexel train detector --recipe recipes/detector-128.json --sprites data/sprites.tar "
      "--output runs/detector");
}

}  // namespace lexel::cli
