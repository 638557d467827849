#include "apps/train/spae/command.h"

#include "apps/train/command.h"

namespace lexel::cli {

void define_train_spae(CLI::App& train, TrainSpaeOptions& options) {
  CLI::App* spae = train.add_subcommand(
      "spae", "Train SPAE: pictures to words in layers, and words to pictures");
  define_task_options(*spae, options.task);
  spae->add_option("--data", options.data,
                   "Captioned drawings and photos: tars of `lexel data fetch`")
      ->required()
      ->option_text("INPUT...");
  spae->add_option("--guide", options.guide, "Guide of `lexel train guide`")
      ->required()
      ->option_text("FILE");
  spae->add_option("--words", options.words, "Word table (setup/words.sh words)")
      ->option_text("FILE [the shipped one]");
  spae->add_option("--scores", options.scores,
                   "Your own scores of words for pictures, where the guide's shall not count")
      ->option_text("FILE");
  spae->add_option("--perceptual", options.perceptual,
                   "EfficientNet-Lite0 weights, where the perceptual loss has a weight")
      ->option_text("FILE");
  spae->add_option("--weights", options.weights,
                   "Matrices in the model file: fp32, bf16, fp16 or int8")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16", "int8"}))
      ->capture_default_str()
      ->option_text("TYPE");
  spae->footer(
      "Each evaluation says which words the upper layers give held-out pictures, and how many are "
      "used.\n"
      "Example: lexel train spae --recipe recipes/spae-128.json --data data/*.tar --guide "
      "runs/guide/model.safetensors --output runs/spae");
}

}  // namespace lexel::cli
