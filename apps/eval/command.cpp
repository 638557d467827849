#include "apps/eval/command.h"

#include "apps/command_line.h"
#include "apps/eval/fewshot/command.h"
#include "apps/eval/generator/command.h"
#include "apps/eval/probe/command.h"
#include "apps/eval/spae/command.h"
#include "apps/eval/upsampler/command.h"
#include "apps/eval/words/command.h"

namespace lexel::cli {

namespace {

void define_eval_tokenizer(CLI::App& eval, EvalTokenizerOptions& options) {
  CLI::App* tokenizer = eval.add_subcommand(
      "tokenizer", "PSNR, SSIM, MSE, Frechet distance and codebook use, with intervals and floors");
  tokenizer->add_option("data", options.data, "Pictures: files, folders, tars, .txt lists")
      ->required()
      ->option_text("INPUT...");
  add_model_option(*tokenizer, options.model);
  tokenizer->add_option("--output", options.output, "Also write the report as JSON")
      ->option_text("FILE");
  tokenizer
      ->add_option("--sheet", options.sheet, "Contact sheet: original | reconstruction | floors")
      ->option_text("FILE");
  tokenizer
      ->add_option(
          "--perceptual", options.perceptual,
          "EfficientNet-Lite0 weights (lexel data fetch perceptual) for the Frechet distance")
      ->option_text("FILE");
  tokenizer
      ->add_option("--centres", options.centres,
                   "Raw patch centres (lexel train tokenizer leaves them) for the k-means floor")
      ->option_text("FILE");
  add_device_option(*tokenizer, options.device);
  add_batch_option(*tokenizer, options.batch);
  tokenizer->add_option("--limit", options.limit, "Pictures at most (0: all)")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000'000}))
      ->option_text("N [0]");
  tokenizer->add_option("--resamples", options.resamples, "Draws of the bootstrap")
      ->check(CLI::Range(int64_t{1}, int64_t{100'000}))
      ->option_text("N [1000]");
  tokenizer->add_option("--seed", options.seed, "Seed of the bootstrap")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 62))
      ->option_text("N [0]");
  tokenizer->add_flag("--skip-bad", options.skip_bad, "Leave out pictures that cannot be read");
  add_quiet_option(*tokenizer, options.quiet);
  tokenizer->footer(
      "Pictures meet the model as its file says (crop, kernel, size), and are compared at that "
      "size.\n"
      "Example: lexel eval tokenizer data/skimage-heldout-00000.tar --output skimage.json");
}

}  // namespace

CLI::App* define_eval(CLI::App& lexel, EvalCommands& options) {
  CLI::App* eval = lexel.add_subcommand("eval", "Measure a model on pictures");
  eval->require_subcommand(1);
  define_eval_tokenizer(*eval, options.tokenizer);
  define_eval_fewshot(*eval, options.fewshot);
  define_eval_generator(*eval, options.generator);
  define_eval_probe(*eval, options.probe);
  define_eval_spae(*eval, options.spae);
  define_eval_upsampler(*eval, options.upsampler);
  define_eval_words(*eval, options.words);
  return eval;
}

}  // namespace lexel::cli
