#include "apps/words/command.h"

#include "apps/command_line.h"

namespace lexel::cli {

void define_words(CLI::App& lexel, WordsOptions& options) {
  CLI::App* words =
      lexel.add_subcommand("words", "A picture as layers of words, and where each of them stands");
  words->add_option("picture", options.picture, "Picture")->required()->option_text("PICTURE");
  words
      ->add_option("-o,--output", options.output,
                   "Picture to write: each layer's words at their places over the picture")
      ->option_text("FILE");
  words
      ->add_option("-m,--model", options.model,
                   "Tokenizer of words (default: the shipped spae-128)")
      ->option_text("FILE");
  add_device_option(*words, options.device);
  words
      ->add_option("--layers", options.layers,
                   "Layers in the table (default: those with rows of 8 words at most)")
      ->check(CLI::Range(int64_t{1}, int64_t{16}))
      ->option_text("N");
  words->footer("Example: lexel words cat.jpg -o cat-words.png");
}

}  // namespace lexel::cli
