#include "apps/train/command.h"

#include "apps/command_line.h"
#include "apps/train/detector/command.h"
#include "apps/train/guide/command.h"
#include "apps/train/spae/command.h"

namespace lexel::cli {

namespace {

void define_tokenizer(CLI::App* train, TrainOptions& options) {
  CLI::App* tokenizer =
      train->add_subcommand("tokenizer", "Train a picture tokenizer (ViT-VQGAN) by a recipe");
  define_task_options(*tokenizer, options);
  add_mesh_options(*tokenizer, options);
  tokenizer->add_option("--preset", options.preset, "Model of this size instead of the recipe's")
      ->check(CLI::IsMember({"ss", "bb", "sl", "lexel-128"}))
      ->option_text("ss|bb|sl|lexel-128");
  add_pictures_option(*tokenizer, options.data);
  add_workers_option(*tokenizer, options.workers, "Threads that decode pictures and cut crops");
  add_cache_option(*tokenizer, options.cache_mb);
  add_weights_option(*tokenizer, options.weights, "fp16");
  tokenizer->footer(
      "Writes model.safetensors, checkpoint.safetensors, metrics.jsonl, report.html and "
      "samples.png into\n"
      "the folder. Ctrl-C stops with a checkpoint, and --resume goes on bit for bit.\n"
      "Example: lexel train tokenizer --recipe recipes/lexel-128.json --data data/*.tar --output "
      "runs/first");
}

void define_text(CLI::App* train, TrainTextOptions& options) {
  CLI::App* text =
      train->add_subcommand("text", "Train a text tokenizer (SentencePiece, with byte fallback)");
  text->add_option("--captions", options.captions,
                   "Captions: .txt (one a line), .jsonl and .tar (their \"caption\" fields)")
      ->required()
      ->option_text("INPUT...");
  text->add_option("--output", options.output, "Model file to write")
      ->required()
      ->option_text("FILE");
  text->add_option(
          "--vocabulary", options.vocabulary,
          "Pieces wanted, 4 symbols and 256 bytes included; fewer where captions carry less")
      ->check(CLI::Range(int64_t{261}, int64_t{1'000'000}))
      ->capture_default_str()
      ->option_text("N");
  text->add_option("--max-tokens", options.max_tokens, "Tokens that the report counts as too many")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->capture_default_str()
      ->option_text("N");
  text->add_option("--coverage", options.character_coverage,
                   "Share of the captions' characters that get a piece; bytes stand for the rest")
      ->check(CLI::Range(0.98, 1.0))
      ->capture_default_str()
      ->option_text("SHARE");
  text->add_flag("--keep-case", options.keep_case, "\"Red\" and \"red\" are different pieces");
  add_quiet_option(*text, options.quiet);
  text->footer(
      "Prints tokens a caption and the share of byte pieces. The defaults are Parti's.\n"
      "Example: lexel train text --captions data/*-train-*.tar --vocabulary 4096 --output "
      "text.model");
}

void define_generator(CLI::App* train, TrainGeneratorOptions& options) {
  CLI::App* generator = train->add_subcommand(
      "generator", "Train a generator of pictures from captions (Parti) or classes (VIM)");
  define_task_options(*generator, options.task);
  add_mesh_options(*generator, options.task);
  generator
      ->add_option(
          "--plan", options.plan,
          "How the model lies on the ranks: a file of `lexel plan`, in the place of --mesh")
      ->option_text("FILE");
  generator->add_option("--schedule", options.schedule, "Of a pipeline: gpipe, 1f1b or circular")
      ->check(CLI::IsMember({std::string("gpipe"), std::string("1f1b"), std::string("circular")}))
      ->capture_default_str()
      ->option_text("NAME");
  generator->add_option("--rounds", options.rounds, "Of a circular pipeline: stages a rank")
      ->check(CLI::Range(int64_t{1}, int64_t{1024}))
      ->capture_default_str()
      ->option_text("R");
  generator
      ->add_option("--trace", options.trace,
                   "Write what each rank did in the last step: a picture (.svg), or JSON for "
                   "chrome://tracing")
      ->option_text("FILE");
  add_tokenizer_option(*generator, options.tokenizer);
  add_scene_options(*generator, options.sprites, options.backgrounds);
  generator
      ->add_option("--data", options.data,
                   "Captioned pictures: files, folders, tars, .txt lists, token files of img2tok")
      ->option_text("INPUT...");
  generator
      ->add_option("--text", options.text,
                   "Text tokenizer of `lexel train text`; else one is trained on the captions")
      ->option_text("FILE");
  generator
      ->add_option("--from", options.from,
                   "Generator to train further: its weights, sizes and text tokenizer")
      ->option_text("MODEL");
  generator
      ->add_option("--cache", options.cache,
                   "Keep the tokens of the composed scenes in this file, for the next run")
      ->option_text("FILE");
  add_workers_option(*generator, options.workers, "Threads that compose and decode pictures");
  add_weights_option(*generator, options.weights, "int8");
  generator->footer(
      "Writes model.safetensors, best.safetensors, checkpoint.safetensors, metrics.jsonl, "
      "report.html and\n"
      "samples.png into the folder. Ctrl-C stops with a checkpoint, and --resume goes on bit for "
      "bit.\n"
      "Example: lexel train generator --recipe recipes/parti-lexel-128.json --sprites "
      "data/sprites.tar --output runs/parti");
}

void define_upsampler(CLI::App* train, TrainUpsamplerOptions& options) {
  CLI::App* upsampler = train->add_subcommand(
      "upsampler", "Train super-resolution on top of a picture tokenizer, which stays as it is");
  define_task_options(*upsampler, options.task);
  add_pictures_option(*upsampler, options.data);
  add_tokenizer_option(*upsampler, options.tokenizer);
  upsampler
      ->add_option("--perceptual", options.perceptual,
                   "EfficientNet-Lite0 weights (lexel data fetch perceptual)")
      ->option_text("FILE");
  add_workers_option(*upsampler, options.workers, "Threads that decode pictures and cut crops");
  add_cache_option(*upsampler, options.cache_mb);
  add_weights_option(*upsampler, options.weights, "fp16");
  upsampler->footer(
      "It starts as bicubic enlargement; each evaluation says how much is gained over it.\n"
      "Example: lexel train upsampler --recipe recipes/upsampler-small.json --data data/*.tar "
      "--output runs/upsampler");
}

void define_scorer(CLI::App* train, TrainScorerOptions& options) {
  CLI::App* scorer = train->add_subcommand(
      "scorer", "Train a scorer of pictures and captions, for txt2img --rerank");
  define_task_options(*scorer, options.task);
  add_scene_options(*scorer, options.sprites, options.backgrounds)->required();
  scorer->add_option("--text", options.text, "Text tokenizer (lexel train text)")
      ->required()
      ->option_text("FILE");
  add_tokenizer_option(*scorer, options.tokenizer);
  scorer->footer(
      "Judged by how often a held-out caption finds its picture among 16 others.\n"
      "Example: lexel train scorer --recipe recipes/scorer-128.json --sprites data/sprites.tar "
      "--text text.model --output runs/scorer");
}

void define_pack(CLI::App* train, TrainPackOptions& options) {
  CLI::App* pack =
      train->add_subcommand("pack", "Pack a recipe and its pictures into few bytes, to travel");
  pack->add_option("--recipe", options.recipe, "Recipe that will be trained")
      ->required()
      ->option_text("FILE");
  add_pictures_option(*pack, options.data);
  pack->add_option("--output", options.output, "Folder to write: data.tar, recipe.json")
      ->required()
      ->option_text("FOLDER");
  pack->add_option("--max-mb", options.max_mb, "Most bytes in all, MiB")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->capture_default_str()
      ->option_text("N");
  pack->add_option("--max-side", options.max_side, "Longest side of a packed picture, pixels")
      ->check(CLI::Range(int64_t{64}, int64_t{65'500}))
      ->capture_default_str()
      ->option_text("N");
  pack->add_option("--held-out", options.held_out, "Most pictures of each held-out set")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000}))
      ->capture_default_str()
      ->option_text("N");
  add_quiet_option(*pack, options.quiet);
  pack->footer(
      "Bytes go where the recipe's mixture looks; pictures are scaled down until they fit.\n"
      "Example: lexel train pack --recipe recipes/lexel-128-gpu.json --data data/*.tar --output "
      "packed");
}

void define_results(CLI::App* train, TrainResultsOptions& options) {
  CLI::App* results =
      train->add_subcommand("results", "Gather what a run left as few files of limited size");
  results->add_option("run", options.run, "Folder of a run")->required()->option_text("RUN");
  results->add_option("output", options.output, "Folder to write")
      ->required()
      ->option_text("OUTPUT");
  results->add_option("--max-files", options.max_files, "Most files")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str()
      ->option_text("N");
  results->add_option("--max-mb", options.max_mb, "Most bytes of a file, MiB")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->capture_default_str()
      ->option_text("N");
  add_quiet_option(*results, options.quiet);
  results->footer(
      "A checkpoint in parts is joined by: cat checkpoint.safetensors.part* > "
      "checkpoint.safetensors\n"
      "Example: lexel train results runs/first carry");
}

}  // namespace

void define_task_options(CLI::App& command, TrainTaskOptions& options) {
  command.add_option("--recipe", options.recipe, "Recipe: flat JSON, see recipes/")
      ->option_text("FILE");
  command.add_option("--output", options.output, "Folder of the run: model, checkpoint, report")
      ->required()
      ->option_text("FOLDER");
  command.add_flag("--resume", options.resume, "Go on from the checkpoint in the folder");
  command.add_option("--set", options.settings, "Change a field of the recipe (may be repeated)")
      ->option_text("KEY=VALUE");
  command
      .add_option("--minutes", options.minutes,
                  "Length: training, all parts of a resumed run together")
      ->check(CLI::Range(0.01, 1e6))
      ->option_text("N");
  command
      .add_option("--steps", options.steps, "Length: steps, all parts of a resumed run together")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}))
      ->option_text("N");
  command.add_option("--batch", options.batch, "Samples of a forward pass")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}))
      ->option_text("N");
  command.add_option("--seed", options.seed, "Seed of weights and samples")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 62))
      ->option_text("N");
  add_device_option(command, options.device);
  add_quiet_option(command, options.quiet);
}

void add_mesh_options(CLI::App& command, TrainTaskOptions& options) {
  command
      .add_option("--mesh", options.mesh,
                  "How the ranks of torchrun, mpirun, srun or lexel launch are laid out, as in "
                  "data=2,tensor=2 (default: all along data)")
      ->option_text("AXIS=N,...");
  command
      .add_option("--timeout", options.timeout,
                  "Seconds after which a rank that others wait for is taken for dead")
      ->check(CLI::Range(0.1, 1e6))
      ->capture_default_str()
      ->option_text("S");
}

void add_pictures_option(CLI::App& command, std::vector<std::string>& data) {
  command.add_option("--data", data, "Pictures: files, folders, tars, .txt lists")
      ->required()
      ->option_text("INPUT...");
}

CLI::Option* add_scene_options(CLI::App& command, std::string& sprites,
                               std::vector<std::string>& backgrounds) {
  CLI::Option* things = command.add_option(
      "--sprites", sprites, "Things that scenes are made of: tar of `lexel data fetch sprites`");
  command.add_option("--backgrounds", backgrounds, "Photos behind things: files, folders, tars")
      ->option_text("INPUT...");
  return things->option_text("TAR");
}

void add_tokenizer_option(CLI::App& command, std::string& tokenizer) {
  command
      .add_option("--tokenizer", tokenizer,
                  "Picture tokenizer, which stays as it is; else the shipped one")
      ->option_text("FILE");
}

void add_workers_option(CLI::App& command, int64_t& workers, const char* what) {
  command.add_option("--workers", workers, what)
      ->check(CLI::Range(int64_t{1}, int64_t{256}))
      ->capture_default_str()
      ->option_text("N");
}

void add_cache_option(CLI::App& command, int64_t& cache_mb) {
  command.add_option("--cache-mb", cache_mb, "Memory for decoded pictures, MiB")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->capture_default_str()
      ->option_text("N");
}

void add_weights_option(CLI::App& command, std::string& weights, const std::string& narrow) {
  command.add_option("--weights", weights, "Matrices in the model file: fp32, bf16 or " + narrow)
      ->check(CLI::IsMember({std::string("fp32"), std::string("bf16"), narrow}))
      ->capture_default_str()
      ->option_text("TYPE");
}

CLI::App* define_train(CLI::App& lexel, TrainCommands& options) {
  CLI::App* train = lexel.add_subcommand("train", "Train a model on pictures");
  train->require_subcommand(1);
  define_tokenizer(train, options.tokenizer);
  define_text(train, options.text);
  define_generator(train, options.generator);
  define_train_detector(*train, options.detector);
  define_upsampler(train, options.upsampler);
  define_scorer(train, options.scorer);
  define_train_guide(*train, options.guide);
  define_train_spae(*train, options.spae);
  define_pack(train, options.pack);
  define_results(train, options.results);
  return train;
}

}  // namespace lexel::cli
