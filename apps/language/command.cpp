#include "apps/language/command.h"

#include "apps/command_line.h"

namespace lexel::cli {

void add_language_model_options(CLI::App& command, LanguageModelChoice& choice) {
  command
      .add_option("--llm", choice.source,
                  "A GGUF file (lexel data fetch smollm2), or the URL of a server of the OpenAI "
                  "completions API")
      ->option_text(std::string("FILE|URL [") + kFetchedLanguageModel + "]");
  command.add_option("--llm-name", choice.server_model, "The name that the server knows it by")
      ->option_text("NAME");
  command.add_option("--key-file", choice.key_file, "A file with the server's key")
      ->option_text("FILE");
  command.add_option("--precision", choice.precision, "Of a GGUF file's model")
      ->check(CLI::IsMember({"fast", "float32"}))
      ->option_text("fast|float32 [fast]");
  command.add_option("--timeout", choice.timeout_s, "For a server's answer, in seconds")
      ->check(number_from(0.1, 86'400))
      ->option_text("S [120]");
}

void define_draw(CLI::App& lexel, DrawOptions& options) {
  CLI::App* draw = lexel.add_subcommand(
      "draw", "A frozen language model draws a picture as words, after examples of a task");
  draw->add_option("picture", options.picture, "The picture that is given (not for task caption)")
      ->option_text("PICTURE");
  draw->add_option("-o,--output", options.output, "Picture to write")
      ->required()
      ->option_text("FILE");
  draw->add_option("--task", options.task, "What the examples show")
      ->check(CLI::IsMember({"deblur", "inpaint", "outpaint", "rotate", "shift", "caption"}))
      ->option_text("deblur|inpaint|outpaint|rotate|shift|caption [deblur]");
  draw->add_option("--caption", options.caption, "What to draw: task caption")->option_text("TEXT");
  draw->add_option("--examples", options.examples,
                   "Pictures that show the task; for captions, tars or folders with captions in "
                   "JSON, as lexel data fetch writes them")
      ->required()
      ->option_text("INPUT...");
  draw->add_option("--example-count", options.example_count, "The first so many of them")
      ->check(CLI::Range(int64_t{1}, int64_t{64}))
      ->option_text("N [4]");
  draw->add_option("--sheet", options.sheet, "Contact sheet: given | drawn | meant")
      ->option_text("FILE");
  draw->add_option("-m,--model", options.model,
                   "Tokenizer of words (default: the shipped spae-128)")
      ->option_text("FILE");
  add_language_model_options(*draw, options.language_model);
  draw->add_option("--layers", options.layers, "Layers to draw, from the top")
      ->check(CLI::Range(int64_t{1}, int64_t{16}))
      ->option_text("N [3]");
  draw->add_option("--parallel-layer", options.parallel_layer,
                   "The first layer whose words do not see each other (default: the last drawn)")
      ->check(CLI::Range(int64_t{1}, int64_t{17}))
      ->option_text("N");
  draw->add_option("--words-per-pass", options.words_per_pass, "Words that are asked for at once")
      ->check(CLI::Range(int64_t{1}, int64_t{64}))
      ->option_text("N [2]");
  draw->add_option("--context", options.context, "Drawn words that a prompt shows again")
      ->check(CLI::Range(int64_t{0}, int64_t{4096}))
      ->option_text("N [16]");
  draw->add_option("--seed", options.seed, "Of deblur's wrong words")->option_text("N [0]");
  add_device_option(*draw, options.device);
  add_quiet_option(*draw, options.quiet);
  draw->footer(
      "Example: lexel draw photo.png --task inpaint --examples photos/ -o drawn.png --llm "
      "http://127.0.0.1:8000/v1\n"
      "         lexel draw --task caption --caption \"an image of 7\" --examples digits.tar -o "
      "7.png");
}

}  // namespace lexel::cli
