#include "apps/eval/fewshot/command.h"

#include "apps/command_line.h"
#include "apps/language/command.h"

namespace lexel::cli {

void define_eval_fewshot(CLI::App& eval, EvalFewshotOptions& options) {
  CLI::App* fewshot = eval.add_subcommand(
      "spae-fewshot", "Few-shot classification by a frozen language model that reads words");
  fewshot
      ->add_option("words", options.words,
                   "JSON lines: picture, concept, words and, if known, caption_words")
      ->required()
      ->option_text("FILE");
  add_language_model_options(*fewshot, options.language_model);
  fewshot
      ->add_option("--word-table", options.word_table,
                   "Words with vectors, for nearest neighbour and label similarity")
      ->option_text("FILE [the shipped one]");
  fewshot->add_option("--output", options.output, "Also write the report as JSON")
      ->option_text("FILE");
  fewshot->add_option("--ways", options.ways, "Classes of an episode; several numbers: each")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(int64_t{2}, int64_t{20}))
      ->option_text("N,... [2,5]");
  fewshot
      ->add_option("--words-per-picture", options.words_per_picture,
                   "The first so many of a picture's words (5: two layers of a pyramid)")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->option_text("N [5]");
  fewshot->add_option("--episodes", options.episodes, "Of each setting")
      ->check(CLI::Range(int64_t{1}, int64_t{100'000}))
      ->option_text("N [50]");
  fewshot->add_option("--seed", options.seed, "Of the episodes")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 62))
      ->option_text("N [0]");
  add_quiet_option(*fewshot, options.quiet);
  fewshot->footer(
      "Example: lexel data fetch smollm2 && lexel eval spae-fewshot words.jsonl --episodes 20\n"
      "A line of the file: {\"picture\": \"cat.png\", \"concept\": \"cat\", \"words\": [\"pet\", "
      "\"animal\"]}");
}

}  // namespace lexel::cli
