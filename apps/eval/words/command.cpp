#include "apps/eval/words/command.h"

#include "apps/command_line.h"

namespace lexel::cli {

void define_eval_words(CLI::App& eval, EvalWordsOptions& options) {
  CLI::App* words = eval.add_subcommand(
      "words", "A table of words as SPAE's frozen codebook: its error by width, word after word");
  words->add_option("table", options.table, "Word table")->option_text("FILE [the shipped one]");
  words->add_option("--widths", options.widths, "Of the codes: principal components")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(int64_t{1}, int64_t{65536}))
      ->option_text("N,... [16,32,64,128,256]");
  words->add_option("--words", options.words, "On one vector")
      ->check(CLI::Range(int64_t{1}, int64_t{16}))
      ->option_text("N [6]");
  words->add_option("--vectors", options.vectors, "Random ones")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->option_text("N [1500]");
  words->add_option("--seed", options.seed, "Of the vectors")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 62))
      ->option_text("N [1]");
  words->add_option("--output", options.output, "Also write the errors as JSON")
      ->option_text("FILE");
  words->add_option("--chart", options.chart, "Also draw them")->option_text("FILE.svg");
  words->footer("Example: lexel eval words --chart errors.svg");
}

}  // namespace lexel::cli
