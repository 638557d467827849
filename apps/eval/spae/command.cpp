#include "apps/eval/spae/command.h"

#include "apps/command_line.h"

namespace lexel::cli {

void define_eval_spae(CLI::App& eval, EvalSpaeOptions& options) {
  CLI::App* spae = eval.add_subcommand(
      "spae", "SPAE layer by layer: PSNR, SSIM, words that fit the captions, words in use");
  spae->add_option("model", options.model, "Model file of `lexel train spae`")
      ->required()
      ->option_text("FILE");
  spae->add_option("data", options.data,
                   "Captioned drawings and photos: tars of `lexel data fetch`")
      ->required()
      ->option_text("INPUT...");
  spae->add_option("--words", options.words, "Word table that captions are read with")
      ->option_text("FILE [the shipped one]");
  spae->add_option("--guide", options.guide, "Guide that scores each layer's words")
      ->option_text("FILE");
  spae->add_option("--output", options.output, "Also write the report as JSON")
      ->option_text("FILE");
  spae->add_option("--sheet", options.sheet,
                   "Contact sheet: original | mosaic | 1 layer | 2 layers ...")
      ->option_text("FILE");
  spae->add_option("--words-output", options.words_output,
                   "Words of all held-out drawings, for `lexel eval spae-fewshot`")
      ->option_text("FILE");
  add_device_option(*spae, options.device);
  spae->add_option("--limit", options.limit, "Held-out drawings, and photos, at most")
      ->check(CLI::Range(int64_t{2}, int64_t{1'000'000}))
      ->capture_default_str()
      ->option_text("N");
  add_quiet_option(*spae, options.quiet);
  spae->footer(
      "Drawings are held out by what they show, so give the training tars too: a tenth of all "
      "subjects.\n"
      "Example: lexel eval spae runs/spae/model.safetensors data/*.tar --output spae.json");
}

}  // namespace lexel::cli
