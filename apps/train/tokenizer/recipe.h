#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "vqgan/config.h"
#include "vqgan/discriminator.h"
#include "vqgan/losses.h"

namespace lexel::train {

/// Everything that decides what a run learns: the model, what it sees, and how it is taught. Saved in
/// checkpoints and, as provenance, in the final model file.
struct TrainRecipe {
  vqgan::Config model;
  int64_t seed = 1;

  // Length: the first of the two that is reached; 0 is "no limit".
  int64_t steps = 0;
  double minutes = 0.0;

  // Batches.
  int64_t batch = 16;            // pictures of one forward pass
  int64_t accumulation = 1;      // forward passes of one optimizer step
  std::string compute = "bf16";  // dtype of matrix products: "bf16" or "fp32"

  // Pictures. A crop is a square of side min_side..short side of the picture, log-uniform (skewed to large
  // crops by `crop_skew`), scaled to the model's size; flipped half of the time.
  std::string mixture;          // "set=weight ...": how often one picture of a set is drawn; else 1
  int64_t min_side = 64;        // pictures with a shorter side are left out, pixels
  int64_t crop_min_side = 128;  // pixels of the original picture
  int64_t crop_skew = 2;        // the largest of so many uniform draws
  bool flip = true;
  int64_t max_side = 2048;  // pictures are cached at this longest side, pixels

  // Optimizer.
  double learning_rate = 1e-3;
  double final_rate = 0.03;  // share of learning_rate at the end of the cosine
  int64_t warmup_steps = 100;
  double beta1 = 0.9, beta2 = 0.99, epsilon = 1e-8;
  double weight_decay = 0.01;
  double clip_norm = 1.0;  // largest norm of the whole gradient; 0 is off
  double average = 0.998;  // decay of the averaged (EMA) weights; warmed up as (1 + s) / (10 + s)
  std::string rates;  // factor of the rate by parameter group: "linear=0.05; encoder=0:0 0.1:0.5"
                      // (curves over progress); a group not named has 1

  // Losses. The discriminator is trained while the adversarial weight is above 0.
  vqgan::LossWeights losses{.codebook = 0.0,
                            .commitment = 0.25,
                            .l2 = 30.0,
                            .logit_laplace = 0.0,
                            .perceptual = 0.0,
                            .adversarial = 0.0};
  std::string loss_factors;  // factor of a weight over progress: "adversarial=0:0 0.6:0 0.7:1"
  std::string perceptual;    // file of the perceptual net (.pth)
  vqgan::DiscriminatorConfig discriminator = vqgan::small_discriminator();
  double discriminator_rate = 2e-4;

  // Codebook.
  std::string start =
      "kmeans";  // "plain" (random) or "kmeans" (linear path by PCA, codes by k-means)
  int64_t start_crops = 4000;  // crops whose patches the start is computed from
  int64_t kmeans_rounds = 8;
  std::string quantized_share = "1";  // curve: share of pictures that pass the quantizer
  double codebook_ema = 0.99;  // decay of codes by moving averages; 0: codes learn by gradient
  int64_t restart_unused_for =
      200;                       // steps without a use after which a code is restarted; 0: never
  int64_t restart_every = 25;    // steps
  int64_t restart_at_most = 64;  // codes a time
  double restart_until = 0.85;   // progress

  // Watching.
  double eval_minutes = 3.0;    // between evaluations on the held-out sets
  int64_t eval_steps = 0;       // the same in steps; 0 is "by minutes"
  int64_t eval_pictures = 100;  // of each held-out set
  double checkpoint_minutes = 5.0;
  int64_t log_every = 20;  // steps
};

template <class AnyRecipe, class Visitor>
requires std::is_same_v<std::remove_const_t<AnyRecipe>, TrainRecipe>
void visit_fields(AnyRecipe& r, Visitor&& visitor) {
  vqgan::visit_fields(r.model, [&visitor](const std::string& name, auto& field) {
    visitor("model." + name, field);
  });
  const auto visit = [&visitor](const char* name, auto& field) {
    visitor(std::string(name), field);
  };
  visit("seed", r.seed);
  visit("steps", r.steps);
  visit("minutes", r.minutes);
  visit("batch", r.batch);
  visit("accumulation", r.accumulation);
  visit("compute", r.compute);
  visit("mixture", r.mixture);
  visit("min_side", r.min_side);
  visit("crop_min_side", r.crop_min_side);
  visit("crop_skew", r.crop_skew);
  visit("flip", r.flip);
  visit("max_side", r.max_side);
  visit("learning_rate", r.learning_rate);
  visit("final_rate", r.final_rate);
  visit("warmup_steps", r.warmup_steps);
  visit("beta1", r.beta1);
  visit("beta2", r.beta2);
  visit("epsilon", r.epsilon);
  visit("weight_decay", r.weight_decay);
  visit("clip_norm", r.clip_norm);
  visit("average", r.average);
  visit("rates", r.rates);
  vqgan::visit_fields(r.losses, [&visitor](const std::string& name, auto& field) {
    // Starts are said in progress (loss_factors): the number of steps is not known beforehand.
    if (name != "discriminator_start") visitor("losses." + name, field);
  });
  visit("loss_factors", r.loss_factors);
  visit("perceptual", r.perceptual);
  vqgan::visit_fields(r.discriminator, [&visitor](const std::string& name, auto& field) {
    visitor("discriminator." + name, field);
  });
  visit("discriminator_rate", r.discriminator_rate);
  visit("start", r.start);
  visit("start_crops", r.start_crops);
  visit("kmeans_rounds", r.kmeans_rounds);
  visit("quantized_share", r.quantized_share);
  visit("codebook_ema", r.codebook_ema);
  visit("restart_unused_for", r.restart_unused_for);
  visit("restart_every", r.restart_every);
  visit("restart_at_most", r.restart_at_most);
  visit("restart_until", r.restart_until);
  visit("eval_minutes", r.eval_minutes);
  visit("eval_steps", r.eval_steps);
  visit("eval_pictures", r.eval_pictures);
  visit("checkpoint_minutes", r.checkpoint_minutes);
  visit("log_every", r.log_every);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const TrainRecipe& recipe);

/// A recipe as JSON, one line a field, nested names dotted.
std::string to_json(const TrainRecipe& recipe);

/// throws   Error(kBadData) naming `name` and the key: not JSON, a key missing, unknown, twice, of another
///          type, or with a value that cannot be
TrainRecipe recipe_from_json(const std::string& json, const std::string& name);

TrainRecipe read_recipe(const std::string& path);

/// Changes one field by its dotted name: "learning_rate=3e-4", "model.encoder.depth=4".
///
/// throws   Error(kUsage): no such field (the nearest names are listed), or a value of another type
void set_field(TrainRecipe& recipe, const std::string& assignment);

}  // namespace lexel::train
