#include <c10/core/DeviceGuard.h>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "apps/train/generator/generator_task.h"
#include "apps/train/options.h"
#include "apps/train/task_recipe.h"
#include "apps/train/team.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/io/safetensors.h"
#include "tokenizers/load.h"
#include "tokenizers/sentencepiece_tokenizer.h"
#include "tokenizers/train_text_tokenizer.h"

namespace lexel::cli {
namespace {

constexpr int64_t kCaptionsForText = 5'000;  // composed scenes that a text tokenizer is trained on

/// The model's grid and codes are those of the tokenizer.
void check_model(const ar::Config& model, const TokenizerInfo& tokenizer) {
  const auto same = [&](const char* field, int64_t got, int64_t expected) {
    check(got == expected, ErrorKind::kUsage, "recipe: model.", field, ": expected ", expected,
          ", as ", tokenizer.name, " has, got ", got);
  };
  check(tokenizer.layer_sides.empty(), ErrorKind::kUnsupported, tokenizer.name,
        ": a generator draws a grid of tokens, this tokenizer gives layers of words");
  same("grid_height", model.grid_height, tokenizer.grid_height);
  same("grid_width", model.grid_width, tokenizer.grid_width);
  same("codebook_size", model.codebook_size, tokenizer.codebook_size);
}

std::vector<std::unique_ptr<train::SampleSource>> sources_of(const TrainGeneratorOptions& options,
                                                             const train::GeneratorRecipe& recipe,
                                                             const TokenizerInfo& tokenizer) {
  check(!options.sprites.empty() || !options.data.empty(), ErrorKind::kUsage,
        "--sprites or --data is needed: what to learn from");
  check(options.sprites.empty() || recipe.model.text_depth > 0, ErrorKind::kUsage,
        "--sprites: composed scenes need a model with text");
  auto sources = train::picture_sources(options.data, tokenizer, recipe.model.text_depth > 0,
                                        recipe.fit, recipe.eval_pictures);
  if (!options.sprites.empty()) {
    data::ComposeConfig compose = recipe.compose;
    compose.canvas = tokenizer.image_size;
    sources.insert(sources.begin(), train::scene_source(options.sprites, options.backgrounds,
                                                        uint64_t(recipe.schedule.seed), compose,
                                                        recipe.scenes, recipe.eval_scenes));
  }
  return sources;
}

/// A text tokenizer of the captions, also written into the run's folder.
std::shared_ptr<const TextTokenizer> train_text(
    const std::vector<std::unique_ptr<train::SampleSource>>& sources, int64_t vocabulary,
    const std::string& path) {
  std::vector<std::string> captions;
  for (const auto& source : sources) {
    const int64_t count = source->items() > 0 ? source->items() : kCaptionsForText;
    for (int64_t k = 0; k < std::min(count, kCaptionsForText); ++k) {
      captions.push_back(source->item(k).caption);
    }
  }
  TextTrainingOptions options;
  options.vocabulary = vocabulary;
  const TrainedTextTokenizer trained = train_text_tokenizer(captions, options);
  write_file(path, trained.serialized);
  return load_text_tokenizer(path);
}

/// The text tokenizer that was given, or that an earlier part of the run has trained, or a new one. A new one may have fewer
/// pieces than the recipe asks for, where the captions justify no more: the recipe then follows.
std::shared_ptr<const TextTokenizer> text_of(
    const TrainGeneratorOptions& options, train::GeneratorRecipe& recipe,
    const std::vector<std::unique_ptr<train::SampleSource>>& sources) {
  const std::string own = options.task.output + "/text.model";
  std::shared_ptr<const TextTokenizer> text;
  if (!options.text.empty()) {
    text = load_text_tokenizer(options.text);
  } else if (options.task.resume && std::filesystem::exists(own)) {
    text = load_text_tokenizer(own);
  } else {
    std::filesystem::create_directories(options.task.output);
    text = train_text(sources, recipe.model.text_vocabulary, own);
    recipe.model.text_vocabulary = text->vocabulary_size();
  }
  check(text->vocabulary_size() == recipe.model.text_vocabulary, ErrorKind::kUsage,
        "the text tokenizer has ", text->vocabulary_size(), " pieces, model.text_vocabulary is ",
        recipe.model.text_vocabulary, " (--set model.text_vocabulary=", text->vocabulary_size(),
        ")");
  return text;
}

/// How the generator that a run started with was made, itself kept in the run's folder, so that a resumed run knows it too.
std::string provenance_of_from(const TrainGeneratorOptions& options) {
  const std::string own = options.task.output + "/from.json";
  if (!options.from.empty()) {
    std::filesystem::create_directories(options.task.output);
    write_file(own, read_model_file_summary(options.from).file.provenance);
  } else if (!options.task.resume || !std::filesystem::exists(own)) {
    return "";
  }
  std::ifstream file(own);
  std::string provenance(std::istreambuf_iterator<char>(file), {});
  check(nlohmann::json::accept(provenance), ErrorKind::kBadData, own, ": not JSON; remove it");
  return provenance;
}

/// The plan of --plan; the recipe follows it in how many pictures a pass and a step have.
///
/// pieces   of text that the recipe asked for, before its model followed the text tokenizer
std::optional<parallel::Plan> plan_of_file(const TrainGeneratorOptions& options,
                                           train::GeneratorRecipe& recipe, int64_t pieces) {
  if (options.plan.empty()) return std::nullopt;
  check(options.task.mesh.empty(), ErrorKind::kUsage, "--plan has a mesh: leave --mesh out");
  parallel::Plan plan = parallel::read_plan(options.plan);
  ar::Config asked = recipe.model;
  asked.text_vocabulary = pieces;
  check(pieces == recipe.model.text_vocabulary ||
            plan.fingerprint != parallel::model_fingerprint(asked),
        ErrorKind::kUsage, options.plan, ": is for ", pieces,
        " pieces of text, and the captions gave a text tokenizer of ", recipe.model.text_vocabulary,
        ": plan with --set text_vocabulary=", recipe.model.text_vocabulary);
  parallel::check_plan(plan, recipe.model);
  const int64_t passes = train::batch_ranks(plan.mesh) * plan.micro_batches;
  check(plan.batch % passes == 0, ErrorKind::kUsage, options.plan, ": ", plan.batch,
        " pictures a step cannot be shared by ", passes, " passes");
  recipe.schedule.accumulation = passes;
  recipe.schedule.batch = plan.batch / passes;
  // A pipeline computes whole stages again by itself.
  if (plan.mesh.length("pipeline") == 1)
    recipe.rematerialize = recipe.rematerialize || plan.rematerialize;
  return plan;
}

/// The plan of --mesh where it has more than the axis data.
std::optional<parallel::Plan> plan_by_hand(const TrainGeneratorOptions& options,
                                           const train::GeneratorRecipe& recipe,
                                           const parallel::Mesh& mesh) {
  const int64_t data = mesh.shape().length("data");
  if (mesh.world().size == data) return std::nullopt;
  const train::TaskSchedule& schedule = recipe.schedule;
  const train::BatchShare share =
      train::batch_share(schedule.accumulation, train::batch_ranks(mesh.shape()), 0);
  return parallel::even_plan(recipe.model, mesh.shape(), schedule.batch * schedule.accumulation,
                             share.parts(), options.schedule, options.rounds);
}

}  // namespace

int run_train_generator(const TrainGeneratorOptions& options) {
  check(!options.task.output.empty(), ErrorKind::kUsage,
        "--output is needed: the folder of the run");
  auto recipe = train::recipe_of<train::GeneratorRecipe>(options.task, "generator");
  const ar::Stored stored = ar::parse_stored(options.weights);
  check(options.workers >= 1 && options.workers <= 256, ErrorKind::kUsage,
        "--workers: expected 1..256, got ", options.workers);
  const parallel::World world = train::world_of(options.task);
  const at::Device device = train::device_of_rank(options.task.device, world);
  const c10::DeviceGuard current(device);
  train::GeneratorData data;
  data.tokenizer = load_image_tokenizer(options.tokenizer, device.str());
  std::optional<ar::Generator> from;
  if (!options.from.empty()) {
    check(!options.task.resume, ErrorKind::kUsage,
          "--from starts a run and --resume goes on with one: leave one out");
    from = ar::load_generator(options.from, device);
    check(from->codebook_fingerprint == data.tokenizer->info().codebook_fingerprint,
          ErrorKind::kBadData, options.from, ": learnt the tokens of another tokenizer, ",
          from->tokenizer_name);
    recipe.model = from->model.config;
  }
  check_model(recipe.model, data.tokenizer->info());
  data.sources = sources_of(options, recipe, data.tokenizer->info());
  const int64_t pieces = recipe.model.text_vocabulary;
  if (from && from->text) {
    check(options.text.empty(), ErrorKind::kUsage,
          "--from brings its own text tokenizer: leave --text out");
    data.text = from->text;
    std::filesystem::create_directories(options.task.output);
    write_file(options.task.output + "/text.model", data.text->serialized());
  } else if (recipe.model.text_depth > 0) {
    data.text = text_of(options, recipe, data.sources);
  }
  data.config = recipe.model;
  std::optional<parallel::Plan> plan = plan_of_file(options, recipe, pieces);
  cli::TrainTaskOptions placed = options.task;
  if (plan) placed.mesh = parallel::to_text(plan->mesh);
  parallel::Mesh mesh = train::mesh_of(placed, world);
  if (!plan) plan = plan_by_hand(options, recipe, mesh);

  at::Tensor codes;
  if (recipe.start == "codes") {
    codes = SafetensorsFile(options.tokenizer).tensor("quantizer.codebook");
  }
  train::GeneratorTask task(recipe, data,
                            {.device = device,
                             .workers = options.workers,
                             .cache = options.cache,
                             .stored = stored,
                             .from = provenance_of_from(options),
                             .mesh = &mesh,
                             .plan = plan},
                            codes, from ? std::optional(std::move(from->model)) : std::nullopt);
  from.reset();
  train::RunOptions run = train::run_options(options.task);
  run.mesh = &mesh;
  run.trace = options.trace;
  run_task(task, run);
  task.write_cache();
  return 0;
}

}  // namespace lexel::cli
