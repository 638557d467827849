#include "apps/train/tokenizer/training_state.h"

#include <map>
#include <nlohmann/json.hpp>

#include "apps/train/checkpoint.h"
#include "apps/train/team.h"
#include "kernels/check.h"

namespace lexel::train {
namespace {

/// The model's parameters as the optimizer sees them: codes that are moving averages are not its to train.
ParameterList trained_parameters(TrainingState& state) {
  ParameterList parameters = vqgan::parameters(state.model);
  if (state.recipe.codebook_ema > 0) {
    for (Parameter& p : parameters) {
      if (p.tensor == &state.model.quantizer.codebook) p.trained = false;
    }
  }
  return parameters;
}

/// Where the model's tensors lie over the axis "tensor".
TensorPlaces places_of(const TrainingState& state, parallel::Mesh& mesh) {
  const ShardedStacks* const stacks = state.stacks.get();
  if (stacks == nullptr) return {};
  return {[stacks](const std::string& name) { return stacks->place_of(name); },
          [&mesh](const std::string& axis) -> parallel::Group& { return mesh.along(axis); }};
}

/// Of tensors that all ranks of the axis "tensor" hold whole: the first rank's count.
TensorPlaces places_of_whole(const ParameterList& list, parallel::Mesh& mesh) {
  std::map<std::string, PlaceOfTensor> places;
  for (const Parameter& p : list)
    places[p.name] = {p.shape, {}, mesh.coordinate("tensor") == 0, ""};
  return {[places](const std::string& name) { return places.at(name); },
          [&mesh](const std::string& axis) -> parallel::Group& { return mesh.along(axis); }};
}

/// State that this rank holds, sharing storage.
///
/// writer   this rank, for what it writes: what several ranks hold is written by the first of them; null: for all that it holds
std::vector<StatePiece> pieces_of(const TrainingState& state, const parallel::World* writer) {
  std::vector<StatePiece> all;
  const auto add_all = [&all](const std::string& prefix, std::vector<StatePiece> pieces) {
    for (StatePiece& piece : pieces) {
      piece.name = prefix + piece.name;
      all.push_back(std::move(piece));
    }
  };
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    if (writer == nullptr || writer->rank == 0)
      all.push_back({name, tensor.sizes().vec(), {}, 0, tensor.detach()});
  };
  add_all("", state.optimizer->state());
  // parameters() lists what may be written
  for (const Parameter& p : trained_parameters(const_cast<TrainingState&>(state)))
    if (!p.trained) add("weights/" + p.name, *p.tensor);
  add("usage/counts", state.usage->counts);
  add("usage/unused_for", state.usage->unused_for);
  add("usage/since_restart", state.usage->since_restart);
  if (state.ema_codes) {
    add("codes/counts", state.ema_codes->counts);
    add("codes/sums", state.ema_codes->sums);
  }
  if (state.discriminator) add_all("discriminator/", state.discriminator_optimizer->state());
  if (writer != nullptr) std::erase_if(all, [](const StatePiece& piece) { return !piece.counts; });
  return all;
}

}  // namespace

vqgan::Model whole_model(const TrainingState& state) {
  return state.stacks ? state.stacks->whole(state.model) : state.model;
}

void make_training_state(TrainingState& state, const TrainRecipe& recipe, at::Device device,
                         parallel::Mesh& mesh) {
  state.recipe = recipe;
  state.model = vqgan::make_model(recipe.model, uint64_t(recipe.seed), device);
  state.stacks.reset();
  if (mesh.along("tensor").size() > 1) {
    state.stacks = std::make_unique<ShardedStacks>(recipe.model, mesh);
    state.stacks->keep_part(state.model);
  }
  const ParameterList parameters = trained_parameters(state);
  require_gradients(parameters, true);
  OptimizerOptions options{recipe.beta1,        recipe.beta2,     recipe.epsilon,
                           recipe.weight_decay, recipe.clip_norm, recipe.average};
  state.optimizer = std::make_unique<Optimizer>(parameters, options, mesh.along("data"),
                                                norm_over(mesh), places_of(state, mesh));
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
        list, OptimizerOptions{0.0, recipe.beta2, recipe.epsilon, 0.0, recipe.clip_norm, 0.0},
        mesh.along("data"), norm_over(mesh), places_of_whole(list, mesh));
  }
}

void save_checkpoint(const std::string& path, const TrainingState& state,
                     const parallel::World& world) {
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
  write_checkpoint(path, to_json(state.recipe), numbers.dump(), pieces_of(state, &world), world);
}

void load_checkpoint(const std::string& path, TrainingState& state, at::Device device,
                     parallel::Mesh& mesh) {
  const Checkpoint checkpoint = read_checkpoint(path);
  make_training_state(state, recipe_from_json(checkpoint.recipe, path), device, mesh);
  restore_pieces(checkpoint, path, pieces_of(state, nullptr));
  state.optimizer->share_weights();
  if (state.discriminator) state.discriminator_optimizer->share_weights();
  try {
    const auto numbers = nlohmann::json::parse(checkpoint.numbers);
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
