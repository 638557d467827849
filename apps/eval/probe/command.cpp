#include "apps/eval/probe/command.h"

#include "apps/command_line.h"

namespace lexel::cli {

void define_eval_probe(CLI::App& eval, EvalProbeOptions& options) {
  CLI::App* probe = eval.add_subcommand(
      "probe", "What a linear classifier reads from a generator's blocks, pixels and tokens");
  probe->add_option("data", options.data, "Tars of pictures with classes (or captions) and splits")
      ->required()
      ->option_text("INPUT...");
  probe->add_option("--generator", options.generator, "Generator to probe")
      ->required()
      ->option_text("FILE");
  probe->add_option("--tokenizer", options.tokenizer, "Picture tokenizer it was trained with")
      ->option_text("FILE");
  probe->add_option("--blocks", options.blocks, "Decoder blocks: middle, all, or a number from 0")
      ->option_text("BLOCKS [middle]");
  const CLI::Range pictures(int64_t{0}, int64_t{1'000'000'000});
  probe->add_option("--train", options.train, "Pictures to learn from at most (0: all)")
      ->check(pictures)
      ->option_text("N [20000]");
  probe->add_option("--test", options.test, "Held-out pictures at most (0: all)")
      ->check(pictures)
      ->option_text("N [10000]");
  probe->add_option("--output", options.output, "Also write the report as JSON")
      ->option_text("FILE");
  add_device_option(*probe, options.device);
  add_batch_option(*probe, options.batch);
  add_quiet_option(*probe, options.quiet);
  probe->footer(
      "A picture's class is \"class\" in its JSON, or else its caption; held out is what \"split\" "
      "says.\n"
      "Example: lexel eval probe data/fashion-mnist-*.tar --generator vim.safetensors --tokenizer "
      "fashion.safetensors");
}

}  // namespace lexel::cli
