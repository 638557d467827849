#include "apps/eval/upsampler/command.h"

#include "apps/command_line.h"

namespace lexel::cli {

void define_eval_upsampler(CLI::App& eval, EvalUpsamplerOptions& options) {
  CLI::App* upsampler = eval.add_subcommand(
      "upsampler", "PSNR of super-resolution beside bicubic enlargement, with intervals");
  upsampler->add_option("upsampler", options.upsampler, "Model file of `lexel train upsampler`")
      ->required()
      ->option_text("FILE");
  upsampler->add_option("data", options.data, "Pictures: files, folders, tars, .txt lists")
      ->required()
      ->option_text("INPUT...");
  add_model_option(*upsampler, options.model);
  upsampler->add_option("--output", options.output, "Also write the report as JSON")
      ->option_text("FILE");
  upsampler->add_option("--sheet", options.sheet, "Contact sheet: original | bicubic | upsampler")
      ->option_text("FILE");
  add_device_option(*upsampler, options.device);
  upsampler->add_option("--limit", options.limit, "Pictures at most (0: all)")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000'000}))
      ->option_text("N [0]");
  upsampler->add_option("--resamples", options.resamples, "Draws of the bootstrap")
      ->check(CLI::Range(int64_t{1}, int64_t{100'000}))
      ->option_text("N [1000]");
  upsampler->add_option("--seed", options.seed, "Seed of the bootstrap")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 62))
      ->option_text("N [0]");
  add_quiet_option(*upsampler, options.quiet);
  upsampler->footer(
      "The upsampler is given what the tokenizer draws of a picture's middle, and compared with "
      "the "
      "picture.\n"
      "Example: lexel eval upsampler runs/upsampler/model.safetensors "
      "data/skimage-heldout-00000.tar");
}

}  // namespace lexel::cli
