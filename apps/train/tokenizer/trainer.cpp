#include "apps/train/tokenizer/trainer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <type_traits>

#include "apps/progress.h"
#include "apps/train/provenance.h"
#include "apps/train/team.h"
#include "apps/train/tokenizer/same_weights.h"
#include "apps/train/tokenizer/start.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "kernels/philox.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/io/torch_checkpoint.h"
#include "tokenizers/vit_vqgan_file.h"

namespace lexel::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kBatchesAhead = 8;
constexpr int64_t kSamples = 24;  // pictures of the sample grid
// The set that reports lead with: it must not choose the checkpoint as well.
constexpr const char* kReportedSet = "sharp photos";

at::ScalarType stored_type(const std::string& name) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  check(name == "fp16", ErrorKind::kUsage, "--weights: expected fp32, bf16 or fp16, got '", name,
        "'");
  return at::kHalf;
}

double rounded(double value) { return std::round(value * 1e5) / 1e5; }

/// Which pictures of a batch pass the quantizer: (B, N) bool, or undefined where all do.
at::Tensor quantized_mask(const TrainRecipe& recipe, double share, int64_t first_sample) {
  if (share >= 1.0) return {};
  const int64_t grid = recipe.model.image_size / recipe.model.patch_size;
  const at::Tensor mask = at::empty({recipe.batch, grid * grid}, at::kBool);
  for (int64_t i = 0; i < recipe.batch; ++i) {
    Philox random(uint64_t(recipe.seed), "quantized", uint64_t(first_sample + i));
    mask[i].fill_(random.uniform() < share);
  }
  return mask;
}

}  // namespace

Trainer::Trainer(const cli::TrainOptions& options, const TrainRecipe& recipe, parallel::Mesh& mesh)
    : options_(options),
      mesh_(mesh),
      share_(batch_share(recipe.accumulation, mesh.along("data").size(), mesh.coordinate("data"))),
      device_(device_of_rank(options.device, mesh.world())),
      compute_(recipe.compute == "bf16" ? at::kBFloat16 : at::kFloat) {
  stored_type(options.weights);
  check(options.workers >= 1 && options.workers <= 256, ErrorKind::kUsage,
        "--workers: expected 1..256, got ", options.workers);
  std::error_code error;
  std::filesystem::create_directories(options.output, error);
  check(!error, ErrorKind::kIo, options.output, ": ", error.message());

  read_training_data({.inputs = options.data,
                      .model_size = recipe.model.image_size,
                      .min_side = recipe.min_side,
                      .max_side = recipe.max_side,
                      .cache_bytes = options.cache_mb << 20,
                      .held_out_pictures = recipe.eval_pictures},
                     data_);
  sampler_ = std::make_unique<CropSampler>(data_.pool, recipe);
  if (recipe.losses.perceptual > 0) {
    perceptual_ = std::make_unique<vqgan::PerceptualNet>(
        vqgan::make_perceptual_net(read_torch_checkpoint(recipe.perceptual), compute_, device_));
  }

  check_same_run(mesh, to_json(recipe), data_.pool.fingerprint);
  if (options.resume) {
    load_checkpoint(path("checkpoint.safetensors"), state_, device_, mesh);
    check(state_.data_fingerprint == data_.pool.fingerprint, ErrorKind::kUsage,
          "--resume: the data is not that of the checkpoint");
    other_length_ = state_.recipe.steps != recipe.steps || state_.recipe.minutes != recipe.minutes;
    state_.recipe = recipe;  // the checkpoint's, with what this command line changed
  } else {
    make_training_state(state_, recipe, device_, mesh);
    state_.data_fingerprint = data_.pool.fingerprint;
    start_model(state_, *sampler_, options.workers);
    share_start(state_, mesh);
  }
  rates_ = parse_curves(recipe.rates, "rates");
  loss_factors_ = parse_curves(recipe.loss_factors, "loss_factors");
  quantized_share_ = parse_curve(recipe.quantized_share, "quantized_share");

  if (!data_.held_out.empty()) {
    const at::Tensor centres =
        raw_patch_centres(path("floor.safetensors"), *sampler_, recipe, options.workers);
    for (const HeldOutSet& set : data_.held_out) {
      floors_.push_back(floor_of(set.images, centres, recipe.model.patch_size));
    }
  }
  if (!leads()) return;
  log_ = std::make_unique<RunLog>(path("metrics.jsonl"), options.resume ? state_.metrics_bytes : 0);
  write_file(path("recipe.json"), to_json(recipe));
}

void Trainer::run(const volatile std::sig_atomic_t& stop) {
  const TrainRecipe& recipe = state_.recipe;
  budget_ = std::make_unique<Budget>(recipe.steps, recipe.minutes, state_.plan, state_.elapsed_s);
  if (other_length_) budget_->change_length(state_.step);
  start_batches();
  log_start();
  if (!options_.resume) {
    evaluate_and_report();
    save();
  }
  logged_s_ = elapsed_s();
  logged_step_ = state_.step;
  budget_->measure_from(state_.step);

  cli::Progress progress("training", -1, "steps", options_.quiet || !leads());
  const int64_t first_step = state_.step;
  double evaluated_s = elapsed_s(), saved_s = elapsed_s();
  follow_clock(stop);
  while (!stop_ && !budget_->finished(state_.step)) {
    step();
    follow_clock(stop);
    if (budget_->first_estimate_due(state_.step - first_step)) budget_->estimate(state_.step);
    if (budget_->plan().total_steps > 0) progress.set_total(budget_->plan().total_steps);
    progress.update(state_.step, note_);
    const bool due = recipe.eval_steps > 0
                         ? state_.step % recipe.eval_steps == 0
                         : elapsed_s() - evaluated_s >= recipe.eval_minutes * 60.0;
    if (due && !budget_->finished(state_.step)) {
      budget_->estimate(state_.step);
      evaluate_and_report();
      evaluated_s = elapsed_s();
    }
    if (elapsed_s() - saved_s >= recipe.checkpoint_minutes * 60.0) {
      save();
      saved_s = elapsed_s();
    }
  }
  if (budget_->finished(state_.step)) {
    evaluate_and_report();
    write_model("model.safetensors");
  }
  save();
}

void Trainer::start_batches() {
  const TrainRecipe& recipe = state_.recipe;
  const int64_t first = state_.step * share_.parts();
  if (device_.is_cpu()) {
    loader_ = std::make_unique<Loader>(*sampler_, recipe.batch, recipe.model.image_size, first,
                                       options_.workers, kBatchesAhead, share_);
  } else {
    device_crops_ =
        std::make_unique<DeviceCrops>(data_.pool, *sampler_, recipe.batch, recipe.model.image_size,
                                      first, options_.workers, device_);
  }
}

at::Tensor Trainer::next_batch() { return loader_ ? loader_->next() : device_crops_->next(); }

double Trainer::waited_s() const {
  return loader_ ? loader_->waited_s() : device_crops_->waited_s();
}

void Trainer::follow_clock(bool stop) {
  if (mesh_.world().size == 1) {
    stop_ = stop;
    return;
  }
  const Agreement all = agree(mesh_, budget_->own_elapsed_s(), stop);
  budget_->follow(all.elapsed_s);
  stop_ = stop_ || all.stop;
}

void Trainer::step() {
  const TrainRecipe& recipe = state_.recipe;
  const double progress = budget_->progress(state_.step);
  const double rate = warmup_cosine(state_.step, recipe.warmup_steps, progress, recipe.final_rate);
  vqgan::TrainSetup setup{recipe.losses, compute_, perceptual_.get(), state_.discriminator.get(),
                          state_.stacks.get()};
  setup.weights.discriminator_start = 0;
  vqgan::visit_fields(setup.weights, [&](const std::string& name, auto& weight) {
    if constexpr (std::is_same_v<std::decay_t<decltype(weight)>, double>) {
      const auto factor = loss_factors_.find(name);
      if (factor != loss_factors_.end()) weight *= factor->second.at(progress);
    }
  });

  std::map<std::string, double> factors;
  for (const auto& [group, curve] : rates_) factors[group] = curve.at(progress);
  state_.optimizer->zero_gradients();
  state_.optimizer->select_trained(factors);
  std::map<std::string, double> terms;
  std::vector<at::Tensor> latents, ids;
  for (int64_t part = 0; part < share_.parts(); ++part) {
    const int64_t batch = share_.number(state_.step * share_.parts() + part);
    const bool last = part + 1 == share_.parts();
    const at::Tensor images = next_batch();
    at::Tensor mask = quantized_mask(recipe, quantized_share_.at(progress), batch * recipe.batch);
    if (mask.defined()) mask = mask.to(device_);
    const auto pass = vqgan::generator_step(state_.model, setup, images, state_.step, mask);
    if (last) state_.optimizer->overlap_next_backward();
    (pass.total / double(share_.parts())).backward();
    add_terms(pass.terms, terms);
    latents.push_back(pass.forward.latents.detach());
    ids.push_back(pass.forward.ids);
    if (vqgan::discriminator_active(setup, state_.step)) {
      const auto judged =
          vqgan::discriminator_step(setup, images, pass.forward.pictures.detach(), state_.step);
      if (part == 0) state_.discriminator_optimizer->zero_gradients();
      if (last) state_.discriminator_optimizer->overlap_next_backward();
      (judged.total / double(share_.parts())).backward();
      add_terms(judged.terms, terms);
    }
  }
  average_over(mesh_, terms);
  state_.usual_loss.observe(state_.step, terms.at("loss"));

  double norm = 0.0;
  try {
    norm = state_.optimizer->step(recipe.learning_rate * rate, factors);
    if (vqgan::discriminator_active(setup, state_.step)) {
      state_.discriminator_optimizer->step(recipe.discriminator_rate * rate, {});
    }
  } catch (const Error& error) {
    fail(error.kind(), "step ", state_.step + 1, ": ", error.what());
  }
  care_for_codes(latents, ids);
  ++state_.step;

  for (const auto& [name, value] : terms) sums_[name] += value;
  ++summed_;
  if (state_.step % recipe.log_every == 0) log_step(recipe.learning_rate * rate, norm);
}

void Trainer::add_terms(const vqgan::LossTerms& terms, std::map<std::string, double>& sums) const {
  for (const auto& [name, value] : vqgan::read(terms)) {
    // "loss", their sum, comes first: the culprit is behind it.
    check(std::isfinite(value) || name == "loss", ErrorKind::kBadData, "step ", state_.step + 1,
          ": the loss term '", name, "' is not finite");
    sums[name] += value / double(share_.parts());
  }
}

void Trainer::care_for_codes(const std::vector<at::Tensor>& latents,
                             const std::vector<at::Tensor>& ids) {
  const at::NoGradGuard no_grad;
  const TrainRecipe& recipe = state_.recipe;
  // Of all ranks in the order that one rank would have them in: all then do the same to the codes.
  parallel::Group& data = mesh_.along("data");
  const at::Tensor all_latents = data.all_gather(at::cat(latents), 0);  // (B, N, code_width)
  const at::Tensor all_ids = data.all_gather(at::cat(ids), 0);          // (B, N)
  state_.usage->observe(all_ids);
  const auto rate = rates_.find("quantizer");
  const double progress = budget_->progress(state_.step);
  const bool moving = rate == rates_.end() || rate->second.at(progress) > 0;
  if (state_.ema_codes && moving) state_.ema_codes->update(state_.model, all_latents, all_ids);
  if (recipe.restart_unused_for == 0 || progress >= recipe.restart_until ||
      (state_.step + 1) % recipe.restart_every != 0) {
    return;
  }
  const vqgan::RestartOptions options{.unused_for = recipe.restart_unused_for,
                                      .max_codes = recipe.restart_at_most,
                                      .seed = uint64_t(recipe.seed)};
  const at::Tensor moved =
      vqgan::restart_dead_codes(state_.model, *state_.usage, all_latents, state_.step, options);
  if (state_.ema_codes && moved.numel() > 0) state_.ema_codes->restarted(state_.model, moved);
  state_.restarts += moved.numel();
}

void Trainer::log_start() {
  if (!leads()) return;
  Json line = {{"type", "start"}, {"step", state_.step}, {"device", device_.str()}};
  line["floors"] = Json::object();
  for (size_t i = 0; i < floors_.size(); ++i) {
    line["floors"][data_.held_out[i].name] = {{"pictures", data_.held_out[i].images.size(0)},
                                              {"mosaic", rounded(floors_[i].mosaic)},
                                              {"kmeans", rounded(floors_[i].kmeans)}};
  }
  line["data"] = Json::parse(data_provenance());
  log_->append(line.dump());
}

void Trainer::log_step(double rate, double gradient_norm) {
  check_same_weights(mesh_, weights_of_all_ranks(state_), state_.step);
  const double now_s = elapsed_s();
  const double span_s = std::max(now_s - logged_s_, 1e-9);
  const double pictures =
      double((state_.step - logged_step_) * state_.recipe.batch * state_.recipe.accumulation);
  const int64_t window = 100;
  Json line = {{"type", "step"},
               {"step", state_.step},
               {"progress", rounded(budget_->progress(state_.step))},
               {"time_s", rounded(now_s)},
               {"rate", rate},
               {"gradient_norm", rounded(gradient_norm)},
               {"usage", rounded(state_.usage->usage(window))},
               {"perplexity", rounded(state_.usage->perplexity())},
               {"restarts", state_.restarts},
               {"pictures_per_s", rounded(pictures / span_s)},
               {"waiting", rounded((waited_s() - logged_waited_s_) / span_s)}};
  for (const auto& [name, sum] : sums_) line["losses"][name] = sum / double(summed_);
  std::ostringstream note;
  note.precision(4);
  note << "loss " << sums_["loss"] / double(summed_) << ", " << line["pictures_per_s"].get<double>()
       << " pictures/s";
  note_ = note.str();
  if (leads()) log_->append(line.dump());
  sums_.clear();
  summed_ = 0;
  logged_s_ = now_s;
  logged_step_ = state_.step;
  logged_waited_s_ = waited_s();
}

void Trainer::evaluate_and_report() {
  if (!data_.held_out.empty()) {
    const double begin_s = elapsed_s();
    state_.optimizer->swap_averages();
    const Evaluation result =
        evaluate(whole_model(state_), data_.held_out, compute_, device_, kSamples);
    state_.optimizer->swap_averages();
    Json sets = Json::object();
    for (size_t i = 0; i < result.sets.size(); ++i) {
      sets[result.sets[i].name] = {{"pictures", result.sets[i].pictures},
                                   {"psnr", rounded(result.sets[i].psnr)},
                                   {"unquantized", rounded(result.sets[i].unquantized)},
                                   {"mosaic", rounded(floors_[i].mosaic)},
                                   {"kmeans", rounded(floors_[i].kmeans)}};
    }
    Json line = {{"type", "eval"},
                 {"step", state_.step},
                 {"progress", rounded(budget_->progress(state_.step))},
                 {"time_s", rounded(begin_s)},
                 {"usage", rounded(result.usage)},
                 {"perplexity", rounded(result.perplexity)},
                 {"sets", sets}};
    last_evaluation_ = line.dump();
    keep_if_best(result);
    if (leads()) {
      log_->append(last_evaluation_);
      write_sample_grid(path("samples.png"), result.originals, result.reconstructions, 4);
      std::filesystem::create_directories(path("samples"));
      write_sample_strip(path("samples/" + std::to_string(state_.step) + ".png"),
                         result.reconstructions, kSamples / 3);
      if (state_.step == 0) {
        write_sample_strip(path("samples/originals.png"), result.originals, kSamples / 3);
      }
    }
    follow_clock(false);
    // What an evaluation takes is not the rate of training.
    logged_s_ += elapsed_s() - begin_s;
  }
  if (leads()) write_report(options_.output);
  budget_->measure_from(state_.step);
}

void Trainer::save() {
  state_.plan = budget_->plan();
  state_.elapsed_s = elapsed_s();
  state_.metrics_bytes = leads() ? log_->bytes() : 0;
  save_checkpoint(path("checkpoint.safetensors"), state_, mesh_.world());
}

std::string Trainer::data_provenance() const {
  Json sets = Json::object(), held_out = Json::object();
  for (const PictureSet& set : data_.pool.sets) sets[set.name] = set.pictures;
  for (const HeldOutSet& set : data_.held_out) held_out[set.name] = set.pictures;
  return Json({{"train", sets},
               {"held_out", held_out},
               {"skipped", data_.pool.skipped.size()},
               {"max_side", data_.pool.max_side},
               {"fingerprint", data_.pool.fingerprint}})
      .dump();
}

void Trainer::write_model(const std::string& name) {
  const Preprocess preprocess{state_.recipe.model.image_size, "crop", "bicubic"};
  const TrainRecipe& recipe = state_.recipe;
  const std::string provenance =
      provenance_of_run({.command = options_.command,
                         .recipe = to_json(recipe),
                         .data = data_provenance(),
                         .steps = state_.step,
                         .pictures = state_.step * recipe.batch * recipe.accumulation,
                         .elapsed_s = elapsed_s(),
                         .seed = recipe.seed,
                         .device = device_.str(),
                         .evaluation = last_evaluation_});
  state_.optimizer->swap_averages();
  const vqgan::Model whole = whole_model(state_);
  if (leads()) {
    write_model_file(path(name), vit_vqgan_file(whole, preprocess, provenance, "Apache-2.0",
                                                stored_type(options_.weights)));
  }
  state_.optimizer->swap_averages();
}

void Trainer::keep_if_best(const Evaluation& result) {
  double sum = 0.0;
  int64_t count = 0;
  for (const SetResult& set : result.sets) {
    if (set.name == kReportedSet && result.sets.size() > 1) continue;
    sum += set.psnr;
    ++count;
  }
  std::vector<double> mean{sum / double(count)};
  average_over(mesh_, mean);  // processors may round otherwise: all ranks go by one
  if (mean[0] <= state_.best_psnr) return;
  state_.best_psnr = mean[0];
  write_model("best.safetensors");
}

}  // namespace lexel::train
