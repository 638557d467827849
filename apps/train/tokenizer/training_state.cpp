#include "apps/train/tokenizer/training_state.h"

#include <map>
#include <nlohmann/json.hpp>

#include "apps/train/checkpoint.h"
#include "kernels/check.h"

namespace lexel::train {
namespace {

/// Every tensor of the state by its name in the file, sharing storage.
std::map<std::string, at::Tensor> all_tensors(const TrainingState& state) {
  std::map<std::string, at::Tensor> all;
  const auto add = [&all](const std::string& prefix,
                          const std::map<std::string, at::Tensor>& part) {
    for (const auto& [name, tensor] : part) all[prefix + name] = tensor;
  };
  auto& model = const_cast<vqgan::Model&>(state.model);  // parameters() lists what may be written
  add("weights/", named_tensors(vqgan::parameters(model)));
  add("", state.optimizer->state());
  all["usage/counts"] = state.usage->counts;
  all["usage/unused_for"] = state.usage->unused_for;
  all["usage/since_restart"] = state.usage->since_restart;
  if (state.ema_codes) {
    all["codes/counts"] = state.ema_codes->counts;
    all["codes/sums"] = state.ema_codes->sums;
  }
  if (state.discriminator) {
    add("discriminator/weights/", named_tensors(vqgan::parameters(*state.discriminator)));
    add("discriminator/", state.discriminator_optimizer->state());
  }
  return all;
}

}  // namespace

void make_training_state(TrainingState& state, const TrainRecipe& recipe, at::Device device) {
  state.recipe = recipe;
  state.model = vqgan::make_model(recipe.model, uint64_t(recipe.seed), device);
  ParameterList parameters = vqgan::parameters(state.model);
  if (recipe.codebook_ema > 0) {
    for (Parameter& p : parameters) {
      if (p.tensor == &state.model.quantizer.codebook) p.trained = false;
    }
  }
  require_gradients(parameters, true);
  OptimizerOptions options{recipe.beta1,        recipe.beta2,     recipe.epsilon,
                           recipe.weight_decay, recipe.clip_norm, recipe.average};
  state.optimizer = std::make_unique<Optimizer>(parameters, options);
  state.usage = std::make_unique<vqgan::CodebookUsage>(recipe.model.codebook_size, device);
  if (recipe.codebook_ema > 0) {
    state.ema_codes = std::make_unique<vqgan::EmaCodes>(state.model, 1.0);
    state.ema_codes->decay = recipe.codebook_ema;
  }
  if (recipe.losses.adversarial > 0) {
    state.discriminator = std::make_unique<vqgan::Discriminator>(
        vqgan::make_discriminator(recipe.discriminator, uint64_t(recipe.seed), device));
    const ParameterList list = vqgan::parameters(*state.discriminator);
    require_gradients(list, true);
    // StyleGAN2's setting: no first moment; no averaged weights either.
    state.discriminator_optimizer = std::make_unique<Optimizer>(
        list, OptimizerOptions{0.0, recipe.beta2, recipe.epsilon, 0.0, recipe.clip_norm, 0.0});
  }
}

void save_checkpoint(const std::string& path, const TrainingState& state) {
  const nlohmann::ordered_json numbers = {
      {"kind", "tokenizer"},
      {"step", state.step},
      {"plan", {state.plan.from_step, state.plan.from_progress, state.plan.total_steps}},
      {"elapsed_s", state.elapsed_s},
      {"metrics_bytes", state.metrics_bytes},
      {"restarts", state.restarts},
      {"usage_observations", state.usage->observations},
      {"usual_loss", state.usual_loss.value},
      {"best_psnr", state.best_psnr},
      {"data_fingerprint", state.data_fingerprint},
      {"optimizer_steps", state.optimizer->steps()},
      {"discriminator_steps",
       state.discriminator_optimizer ? state.discriminator_optimizer->steps() : 0},
  };
  write_checkpoint(path, to_json(state.recipe), numbers.dump(), all_tensors(state));
}

void load_checkpoint(const std::string& path, TrainingState& state, at::Device device) {
  const ModelFile file = read_checkpoint(path);
  make_training_state(state, recipe_from_json(file.config, path), device);
  restore_tensors(file, path, all_tensors(state));
  try {
    const auto numbers = nlohmann::json::parse(file.provenance);
    state.step = numbers.at("step");
    const auto& plan = numbers.at("plan");
    state.plan = {plan.at(0), plan.at(1), plan.at(2)};
    state.elapsed_s = numbers.at("elapsed_s");
    state.metrics_bytes = numbers.at("metrics_bytes");
    state.restarts = numbers.at("restarts");
    state.usage->observations = numbers.at("usage_observations");
    state.usual_loss.value = numbers.at("usual_loss");
    state.best_psnr = numbers.at("best_psnr");
    state.data_fingerprint = numbers.at("data_fingerprint");
    state.optimizer->set_steps(numbers.at("optimizer_steps"));
    if (state.discriminator_optimizer) {
      state.discriminator_optimizer->set_steps(numbers.at("discriminator_steps"));
    }
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::kBadData, path, ": the numbers of the checkpoint: ", error.what());
  }
}

}  // namespace lexel::train
