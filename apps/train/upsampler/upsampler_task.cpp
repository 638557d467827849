#include "apps/train/upsampler/upsampler_task.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/eval/metrics.h"
#include "apps/train/recipe_fields.h"
#include "kernels/check.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/io/sha256.h"
#include "tokenizers/upsampler.h"
#include "vqgan/losses.h"

namespace lexel::train {
namespace {

constexpr int64_t kEvaluationBatch = 8;
constexpr int64_t kSamplesOfASet = 2;
constexpr int64_t kBatchesAhead = 2;

TrainRecipe crop_recipe(const UpsamplerRecipe& recipe, int64_t side) {
  TrainRecipe crops;
  crops.model.image_size = side;
  crops.seed = recipe.schedule.seed;
  crops.crop_min_side = side;
  crops.flip = recipe.flip;
  return crops;
}

}  // namespace

void validate(const UpsamplerRecipe& r) {
  vqgan::validate(r.model);
  validate(r.schedule);
  const auto require = [](bool ok, const char* field, const char* expected, const auto& got) {
    check(ok, ErrorKind::kUsage, "recipe: ", field, ": expected ", expected, ", got ", got);
  };
  require(r.l2 >= 0 && r.l2 <= 1e6, "l2", "0..1e6", r.l2);
  require(r.perceptual >= 0 && r.perceptual <= 1e6, "perceptual", "0..1e6", r.perceptual);
  require(r.l2 + r.perceptual > 0, "l2", "above 0 where perceptual is 0", r.l2);
  require(r.min_side >= 16, "min_side", "at least 16", r.min_side);
  require(r.max_side >= r.min_side, "max_side", "at least min_side", r.max_side);
  require(r.eval_pictures >= 1, "eval_pictures", "at least 1", r.eval_pictures);
}

UpsamplerTask::UpsamplerTask(const UpsamplerRecipe& recipe, TrainingData& data,
                             const ImageTokenizer& tokenizer, const vqgan::PerceptualNet* net,
                             const Options& options)
    : recipe_(recipe),
      data_(data),
      tokenizer_(tokenizer),
      net_(net),
      options_(options),
      side_(recipe.model.scale * tokenizer.info().image_size),
      sampler_(data.pool, crop_recipe(recipe, side_)),
      model_(vqgan::make_upsampler(recipe.model, uint64_t(recipe.schedule.seed), options.device)) {
  check(recipe.perceptual == 0.0 || net != nullptr, ErrorKind::kUsage,
        "recipe: perceptual: ", recipe.perceptual,
        " needs --perceptual FILE (lexel data fetch perceptual), or --set perceptual=0");
}

std::string UpsamplerTask::recipe() const { return recipe_fields::write(recipe_); }

at::Tensor UpsamplerTask::drawn(const at::Tensor& originals) const {
  return draw_small(tokenizer_, originals, recipe_.model.scale).to(options_.device);
}

TaskLoss UpsamplerTask::loss(int64_t number, double) {
  if (!loader_) {  // the first batch of this run; the others follow
    loader_ = std::make_unique<Loader>(sampler_, recipe_.schedule.batch, side_, number,
                                       options_.workers, kBatchesAhead);
  }
  const at::Tensor originals = loader_->next().to(options_.device);  // (B, 3, sS, sS)
  const at::ScalarType compute = recipe_.schedule.compute == "bf16" ? at::kBFloat16 : at::kFloat;
  const at::Tensor large = vqgan::upscale(model_, drawn(originals), compute);
  const at::Tensor l2 = vqgan::l2_loss(large, originals);
  TaskLoss result{l2 * recipe_.l2, {{"l2", l2.detach()}}};
  if (recipe_.perceptual > 0.0) {
    const at::Tensor perceptual = vqgan::perceptual_loss(*net_, large, originals);
    result.loss = result.loss + perceptual * recipe_.perceptual;
    result.terms["perceptual"] = perceptual.detach();
  }
  return result;
}

TaskEvaluation UpsamplerTask::evaluate(int64_t) {
  const at::NoGradGuard no_grad;
  TaskEvaluation result;
  std::vector<at::Tensor> samples;
  double gains = 0.0;
  for (const HeldOutSet& set : data_.held_out) {
    double psnr = 0.0, bicubic_psnr = 0.0;
    const int64_t count = set.images.size(0);
    for (int64_t begin = 0; begin < count; begin += kEvaluationBatch) {
      const at::Tensor originals =
          set.images.narrow(0, begin, std::min(kEvaluationBatch, count - begin))
              .to(options_.device, at::kFloat)
              .div(255);
      const at::Tensor small = drawn(originals);
      const at::Tensor bicubic = vqgan::bicubic_enlarged(small, recipe_.model.scale).clamp(0, 1);
      const at::Tensor large = vqgan::upscale(model_, small, at::kFloat).clamp(0, 1);
      psnr += eval::psnr(large, originals).sum().item<double>();
      bicubic_psnr += eval::psnr(bicubic, originals).sum().item<double>();
      if (begin > 0) continue;
      for (int64_t i = 0; i < std::min(kSamplesOfASet, originals.size(0)); ++i) {
        for (const at::Tensor& column : {originals, bicubic, large}) {
          samples.push_back(column[i]);
          result.captions.push_back(set.name);
        }
      }
    }
    const double gain = (psnr - bicubic_psnr) / static_cast<double>(count);
    result.metrics["psnr/" + set.name] = psnr / static_cast<double>(count);
    result.metrics["gain/" + set.name] = gain;
    gains += gain;
  }
  result.score = gains / static_cast<double>(std::max<size_t>(1, data_.held_out.size()));
  if (!samples.empty()) result.samples = at::stack(samples);
  return result;
}

void UpsamplerTask::write_model(const std::string& path, const std::string& provenance) {
  write_model_file(path, upsampler_file(model_, provenance, "Apache-2.0", options_.stored));
}

std::string UpsamplerTask::data_provenance() const {
  const std::string all = data_.pool.fingerprint + tokenizer_.info().codebook_fingerprint;
  nlohmann::ordered_json train = nlohmann::ordered_json::object(), held_out = train;
  for (const PictureSet& set : data_.pool.sets) train[set.name] = set.pictures;
  for (const HeldOutSet& set : data_.held_out) held_out[set.name] = set.images.size(0);
  return nlohmann::ordered_json({{"train", train},
                                 {"held_out", held_out},
                                 {"tokenizer", tokenizer_.info().codebook_fingerprint},
                                 {"fingerprint", sha256(all.data(), all.size())}})
      .dump();
}

}  // namespace lexel::train
