#include "apps/launch/command.h"

namespace lexel::cli {

void define_launch(CLI::App& lexel, LaunchOptions& options) {
  CLI::App* launch =
      lexel.add_subcommand("launch", "Run a command as several ranks on this machine");
  launch->add_option("-n,--ranks", options.ranks, "Ranks: processes that work together")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->capture_default_str()
      ->option_text("N");
  launch
      ->add_option("--grace", options.grace,
                   "Seconds that the other ranks have to end after one failed")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str()
      ->option_text("S");
  launch->add_option("command", options.command, "Program and its arguments, after --")
      ->required()
      ->option_text("-- COMMAND...");
  launch->positionals_at_end();
  launch->footer(
      "Each rank gets an equal part of the cores (OMP_NUM_THREADS, unless it is set). When one "
      "fails, the others are ended and "
      "its rank is named.\n"
      "Example: lexel launch -n 4 -- lexel train generator --mesh data=2,tensor=2 --recipe "
      "recipes/parti-lexel-128.json --sprites data/sprites.tar --output runs/parti");
}

}  // namespace lexel::cli
