#include "apps/eval/generator/command.h"

#include "apps/command_line.h"

namespace lexel::cli {
namespace {

void add_models(CLI::App& app, EvalGeneratorOptions& options) {
  app.add_option("--model", options.model, "Generator to measure [the shipped one]")
      ->option_text("FILE");
  app.add_option("--tokenizer", options.tokenizer, "Picture tokenizer [the shipped one]")
      ->option_text("FILE");
  app.add_option("--detector", options.detector, "Judge of the pictures [the shipped one]")
      ->option_text("FILE");
  add_device_option(app, options.device);
}

void add_scenes(CLI::App& app, EvalGeneratorOptions& options) {
  app.add_option("--sprites", options.sprites, "Things of the scenes: lexel data fetch sprites")
      ->capture_default_str()
      ->option_text("FILE");
  app.add_option("--backgrounds", options.backgrounds, "Photos of the scenes: files, folders, tars")
      ->option_text("INPUT...");
  app.add_option("--split", options.split,
                 "heldout: what no training scene shows; train: to choose options on")
      ->check(CLI::IsMember({"heldout", "train"}))
      ->capture_default_str();
  app.add_option("--scenes", options.scenes, "Captions to draw")
      ->check(CLI::Range(int64_t{2}, int64_t{100'000}))
      ->capture_default_str()
      ->option_text("N");
  app.add_option("--first", options.first, "Number of the first scene")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str()
      ->option_text("N");
  app.add_option("--scene-seed", options.scene_seed, "Seed of the scenes")
      ->check(CLI::Range(uint64_t{0}, uint64_t{1} << 62))
      ->capture_default_str()
      ->option_text("N");
}

void add_sampling(CLI::App& app, EvalGeneratorOptions& options) {
  app.add_option("--guidance", options.guidance, "Scale of the caption's influence; 1: none")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str()
      ->option_text("X");
  app.add_option("--schedule", options.schedule, "Guidance over the tokens")
      ->check(CLI::IsMember({"constant", "cosine"}))
      ->capture_default_str();
  app.add_option("--temperature", options.temperature, "0: the likeliest token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str()
      ->option_text("X");
  app.add_option("--top-k", options.top_k, "Draw among the K likeliest tokens; 0: all")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000}))
      ->capture_default_str()
      ->option_text("K");
  app.add_option("--top-p", options.top_p, "Draw among the likeliest tokens of this much in all")
      ->check(CLI::Range(1e-6, 1.0))
      ->capture_default_str()
      ->option_text("P");
  app.add_option("--seed", options.seed, "Seed of the pictures and of the bootstrap")
      ->check(CLI::Range(uint64_t{0}, uint64_t{1} << 62))
      ->capture_default_str()
      ->option_text("N");
  app.add_option("--rerank", options.rerank, "Candidates a picture, of which a scorer takes one")
      ->check(CLI::Range(int64_t{1}, int64_t{1024}))
      ->capture_default_str()
      ->option_text("N");
  app.add_option("--scorer", options.scorer, "Model that ranks candidates")->option_text("FILE");
  app.add_option("--batch", options.batch, "Pictures drawn together")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}))
      ->capture_default_str()
      ->option_text("N");
}

void add_outputs(CLI::App& app, EvalGeneratorOptions& options) {
  app.add_option(
         "--perceptual", options.perceptual,
         "EfficientNet-Lite0 weights (lexel data fetch perceptual) for the Frechet distance")
      ->option_text("FILE");
  app.add_option("--prompts", options.prompts, "Also draw a table of prompts: PartiPrompts.tsv")
      ->option_text("FILE");
  app.add_option("--gallery", options.gallery, "Folder for these: index.html and pictures")
      ->option_text("FOLDER");
  app.add_option("--per-category", options.per_category, "First prompts of each category; 0: all")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000}))
      ->capture_default_str()
      ->option_text("N");
  app.add_option("--json", options.json, "Also write the report as JSON")->option_text("FILE");
  app.add_option("--sheet", options.sheet, "Contact sheet: the first captions with seeds 0 to 3")
      ->option_text("FILE");
  app.add_option("--sheet-captions", options.sheet_captions, "Captions on the sheet")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str()
      ->option_text("N");
  app.add_option("--resamples", options.resamples, "Draws of the bootstrap")
      ->check(CLI::Range(int64_t{1}, int64_t{100'000}))
      ->capture_default_str()
      ->option_text("N");
  add_quiet_option(app, options.quiet);
}

}  // namespace

void define_eval_generator(CLI::App& eval, EvalGeneratorOptions& options) {
  CLI::App* app = eval.add_subcommand(
      "generator",
      "What held-out captions get: judged by a detector, beside its ceiling and chance");
  add_models(*app, options);
  add_scenes(*app, options);
  add_sampling(*app, options);
  add_outputs(*app, options);
  app->footer(
      "Choose guidance, temperature and the like with --split train; measure on the held-out "
      "captions once.\n"
      "Example: lexel eval generator --model generator.safetensors --scenes 500 --json report.json "
      "--sheet sheet.png");
}

}  // namespace lexel::cli
