#include <ATen/ops/mean.h>
#include <filesystem>

#include "apps/train/guide/guide_task.h"
#include "apps/train/guide/options.h"
#include "apps/train/task_recipe.h"
#include "kernels/device.h"
#include "tokenizers/io/torch_checkpoint.h"
#include "tokenizers/word_table.h"

namespace lexel::cli {

int run_train_guide(const TrainGuideOptions& options) {
  const auto recipe = train::recipe_of<train::GuideRecipe>(options.task, "guide");
  const at::Device device = resolve_device(options.task.device);
  const WordTableFile table = read_word_table(options.words);
  const NamedVectors classes = read_named_vectors(options.classes);
  const spae::LexicalCodebook words = spae::make_lexical_codebook(table.table, /*width=*/1);
  check(words.semantics.size(1) == recipe.model.word_width, ErrorKind::kUsage,
        "recipe: model.word_width: expected ", words.semantics.size(1), ", as ", options.words,
        " has, got ", recipe.model.word_width);
  train::WordPictures pictures({.inputs = options.data,
                                .image_size = recipe.model.image_size,
                                .seed = static_cast<uint64_t>(recipe.schedule.seed),
                                .held_out = recipe.held_out},
                               data::WordFinder(table));
  spae::DualEncoder guide = train::fresh_guide(
      recipe.model,
      vqgan::make_perceptual_net(read_torch_checkpoint(options.perceptual), at::kFloat, device),
      spae::unit_rows(table.table.vectors).mean(at::IntArrayRef{0}), classes.vectors,
      static_cast<uint64_t>(recipe.schedule.seed), device);
  std::filesystem::create_directories(options.task.output);
  train::FeatureBank bank =
      train::feature_bank(pictures, guide, recipe.views, recipe.photo_views,
                          options.task.output + "/features.safetensors", options.task.quiet);
  const at::ScalarType stored = options.weights == "int8"   ? at::kChar
                                : options.weights == "bf16" ? at::kBFloat16
                                                            : at::kFloat;
  train::GuideTask task(recipe, std::move(guide), pictures, std::move(bank), words, stored);
  train::run_task(task, train::run_options(options.task));
  return 0;
}

}  // namespace lexel::cli
