#include <optional>

#include "apps/train/options.h"
#include "apps/train/task_recipe.h"
#include "apps/train/upsampler/upsampler_task.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/torch_checkpoint.h"
#include "tokenizers/load.h"

namespace lexel::cli {
namespace {

at::ScalarType stored_as(const std::string& name) {
  if (name == "fp32") return at::kFloat;
  if (name == "fp16") return at::kHalf;
  check(name == "bf16", ErrorKind::kUsage, "--weights: expected fp32, bf16 or fp16, got '", name,
        "'");
  return at::kBFloat16;
}

}  // namespace

int run_train_upsampler(const TrainUpsamplerOptions& options) {
  check(!options.task.output.empty(), ErrorKind::kUsage,
        "--output is needed: the folder of the run");
  const auto recipe = train::recipe_of<train::UpsamplerRecipe>(options.task, "upsampler");
  check(options.workers >= 1 && options.workers <= 256, ErrorKind::kUsage,
        "--workers: expected 1..256, got ", options.workers);
  check(options.cache_mb >= 1 && options.cache_mb <= 1'000'000, ErrorKind::kUsage,
        "--cache-mb: expected 1..1000000, got ", options.cache_mb);
  const at::ScalarType stored = stored_as(options.weights);
  const at::Device device = resolve_device(options.task.device);

  const std::unique_ptr<ImageTokenizer> tokenizer =
      load_image_tokenizer(options.tokenizer, options.task.device);
  std::optional<vqgan::PerceptualNet> net;
  if (recipe.perceptual > 0.0 && !options.perceptual.empty()) {
    net = vqgan::make_perceptual_net(read_torch_checkpoint(options.perceptual), at::kFloat, device);
  }
  train::TrainingData data;
  train::read_training_data({.inputs = options.data,
                             .model_size = recipe.model.scale * tokenizer->info().image_size,
                             .min_side = recipe.min_side,
                             .max_side = recipe.max_side,
                             .cache_bytes = options.cache_mb << 20,
                             .held_out_pictures = recipe.eval_pictures},
                            data);
  train::UpsamplerTask task(recipe, data, *tokenizer, net ? &*net : nullptr,
                            {.device = device, .workers = options.workers, .stored = stored});
  run_task(task, train::run_options(options.task));
  return 0;
}

}  // namespace lexel::cli
