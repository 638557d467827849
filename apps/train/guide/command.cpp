#include "apps/train/guide/command.h"

#include "apps/train/command.h"

namespace lexel::cli {

void define_train_guide(CLI::App& train, TrainGuideOptions& options) {
  CLI::App* guide =
      train.add_subcommand("guide", "Train the guide that tells SPAE which words a picture shows");
  define_task_options(*guide, options.task);
  guide
      ->add_option("--data", options.data,
                   "Captioned drawings and photos: tars of `lexel data fetch`")
      ->required()
      ->option_text("INPUT...");
  guide
      ->add_option("--perceptual", options.perceptual,
                   "EfficientNet-Lite0 weights (lexel data fetch perceptual)")
      ->required()
      ->option_text("FILE");
  guide->add_option("--words", options.words, "Word table (setup/words.sh words)")
      ->option_text("FILE [the shipped one]");
  guide
      ->add_option("--classes", options.classes,
                   "Vectors of the net's class names (setup/words.sh classes)")
      ->option_text("FILE [the shipped one]");
  guide->add_option("--weights", options.weights, "Matrices in the model file: fp32, bf16 or int8")
      ->check(CLI::IsMember({"fp32", "bf16", "int8"}))
      ->capture_default_str()
      ->option_text("TYPE");
  guide->footer(
      "Features of all pictures are computed first and kept in the folder; then it takes a minute "
      "or "
      "two.\n"
      "Example: lexel train guide --recipe recipes/guide.json --data data/*.tar --perceptual "
      "data/efficientnet-lite0-57934424.pth --output runs/guide");
}

}  // namespace lexel::cli
