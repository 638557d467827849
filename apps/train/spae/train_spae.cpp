#include <optional>

#include "apps/train/spae/options.h"
#include "apps/train/spae/spae_task.h"
#include "apps/train/task_recipe.h"
#include "kernels/device.h"
#include "tokenizers/guide_file.h"
#include "tokenizers/io/torch_checkpoint.h"
#include "tokenizers/word_table.h"

namespace lexel::cli {

int run_train_spae(const TrainSpaeOptions& options) {
  auto recipe = train::recipe_of<train::SpaeRecipe>(options.task, "spae");
  const at::Device device = resolve_device(options.task.device);
  const WordTableFile table = read_word_table(options.words);
  const ModelFile guide_model = read_model_file(options.guide);
  const spae::DualEncoder guide = read_guide(guide_model, options.guide, device);
  train::SpaeData data;
  data.words = spae::make_lexical_codebook(table.table, recipe.model.code_width);
  check(data.words.semantics.size(1) == guide.config.word_width, ErrorKind::kUsage, options.guide,
        ": expected a guide to words of ", data.words.semantics.size(1), " numbers, got ",
        guide.config.word_width);
  recipe.model.num_words = static_cast<int64_t>(data.words.words.size());
  std::optional<vqgan::PerceptualNet> perceptual;
  if (recipe.loss.perceptual > 0.0) {
    check(!options.perceptual.empty(), ErrorKind::kUsage,
          "loss.perceptual has a weight; give --perceptual FILE (lexel data fetch perceptual)");
    perceptual = vqgan::make_perceptual_net(
        read_torch_checkpoint(options.perceptual),
        recipe.schedule.compute == "bf16" ? at::kBFloat16 : at::kFloat, device);
  }
  train::WordPictures pictures({.inputs = options.data,
                                .image_size = recipe.model.image_size,
                                .seed = static_cast<uint64_t>(recipe.schedule.seed),
                                .held_out = recipe.held_out},
                               data::WordFinder(table));
  std::optional<train::PictureScores> scores;
  if (!options.scores.empty()) scores.emplace(options.scores, data.words.words);
  data.pictures = &pictures;
  data.guide = &guide;
  data.scores = scores ? &*scores : nullptr;
  data.perceptual = perceptual ? &*perceptual : nullptr;
  data.guide_fingerprint = model_fingerprint(guide_model);
  const at::ScalarType stored = options.weights == "fp32"   ? at::kFloat
                                : options.weights == "bf16" ? at::kBFloat16
                                : options.weights == "int8" ? at::kChar
                                                            : at::kHalf;
  train::SpaeTask task(recipe, std::move(data), stored, device);
  train::run_task(task, train::run_options(options.task));
  return 0;
}

}  // namespace lexel::cli
