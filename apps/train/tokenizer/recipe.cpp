#include "apps/train/tokenizer/recipe.h"

#include "apps/train/recipe_fields.h"
#include "apps/train/schedule.h"
#include "kernels/check.h"

namespace lexel::train {
void validate(const TrainRecipe& r) {
  vqgan::validate(r.model);
  const auto require = [](bool ok, const char* field, const char* expected, const auto& got) {
    check(ok, ErrorKind::kUsage, "recipe: ", field, ": expected ", expected, ", got ", got);
  };
  require(r.steps >= 0, "steps", "at least 0", r.steps);
  require(r.minutes >= 0, "minutes", "at least 0", r.minutes);
  require(r.steps > 0 || r.minutes > 0, "steps", "steps or minutes above 0", r.steps);
  require(r.batch >= 1 && r.batch <= 65536, "batch", "1..65536", r.batch);
  require(r.accumulation >= 1, "accumulation", "at least 1", r.accumulation);
  require(r.compute == "bf16" || r.compute == "fp32", "compute", "bf16 or fp32", r.compute);
  require(r.crop_min_side >= 8, "crop_min_side", "at least 8", r.crop_min_side);
  require(r.crop_skew >= 1 && r.crop_skew <= 16, "crop_skew", "1..16", r.crop_skew);
  require(r.max_side >= 64, "max_side", "at least 64", r.max_side);
  require(r.learning_rate > 0, "learning_rate", "above 0", r.learning_rate);
  require(r.final_rate >= 0 && r.final_rate <= 1, "final_rate", "0..1", r.final_rate);
  require(r.warmup_steps >= 0, "warmup_steps", "at least 0", r.warmup_steps);
  require(r.beta1 >= 0 && r.beta1 < 1, "beta1", "0..1 (below 1)", r.beta1);
  require(r.beta2 >= 0 && r.beta2 < 1, "beta2", "0..1 (below 1)", r.beta2);
  require(r.epsilon > 0, "epsilon", "above 0", r.epsilon);
  require(r.weight_decay >= 0, "weight_decay", "at least 0", r.weight_decay);
  require(r.clip_norm >= 0, "clip_norm", "at least 0", r.clip_norm);
  require(r.average >= 0 && r.average < 1, "average", "0..1 (below 1)", r.average);
  vqgan::validate(r.losses);
  require(r.losses.perceptual == 0 || !r.perceptual.empty(), "perceptual",
          "a file where losses.perceptual is above 0", "none");
  if (r.losses.adversarial > 0) {
    vqgan::validate(r.discriminator);
    require(r.discriminator.image_size == r.model.image_size, "discriminator.image_size",
            "the model's", r.discriminator.image_size);
  }
  require(r.discriminator_rate > 0, "discriminator_rate", "above 0", r.discriminator_rate);
  require(r.start == "plain" || r.start == "kmeans", "start", "plain or kmeans", r.start);
  require(r.start_crops >= 1, "start_crops", "at least 1", r.start_crops);
  require(r.kmeans_rounds >= 1, "kmeans_rounds", "at least 1", r.kmeans_rounds);
  require(r.codebook_ema >= 0 && r.codebook_ema < 1, "codebook_ema", "0..1 (below 1)",
          r.codebook_ema);
  require(r.codebook_ema > 0 || r.losses.codebook > 0, "losses.codebook",
          "above 0 where codebook_ema is 0", r.losses.codebook);
  require(r.restart_unused_for >= 0, "restart_unused_for", "at least 0", r.restart_unused_for);
  require(r.restart_every >= 1, "restart_every", "at least 1", r.restart_every);
  require(r.restart_at_most >= 0, "restart_at_most", "at least 0", r.restart_at_most);
  require(r.eval_minutes > 0 || r.eval_steps > 0, "eval_minutes", "above 0 where eval_steps is 0",
          r.eval_minutes);
  require(r.eval_pictures >= 1, "eval_pictures", "at least 1", r.eval_pictures);
  require(r.checkpoint_minutes > 0, "checkpoint_minutes", "above 0", r.checkpoint_minutes);
  require(r.log_every >= 1, "log_every", "at least 1", r.log_every);
  parse_curve(r.quantized_share, "quantized_share");
  parse_curves(r.rates, "rates");
  parse_curves(r.loss_factors, "loss_factors");
  parse_weights(r.mixture, "mixture");
}

std::string to_json(const TrainRecipe& recipe) { return recipe_fields::write(recipe); }

TrainRecipe recipe_from_json(const std::string& json, const std::string& name) {
  return recipe_fields::parse<TrainRecipe>(json, name);
}

TrainRecipe read_recipe(const std::string& path) { return recipe_fields::read<TrainRecipe>(path); }

void set_field(TrainRecipe& recipe, const std::string& assignment) {
  recipe_fields::set(recipe, assignment);
}

}  // namespace lexel::train
