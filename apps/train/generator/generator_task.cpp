#include "apps/train/generator/generator_task.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/train/generator/caption_noise.h"
#include "apps/train/generator/chosen_places.h"
#include "apps/train/generator/expert_use.h"
#include "apps/train/generator/token_noise.h"
#include "apps/train/recipe_fields.h"
#include "apps/train/team.h"
#include "autoregressive/expert_layer.h"
#include "autoregressive/generate.h"
#include "autoregressive/packed_model.h"
#include "kernels/check.h"
#include "tokenizers/io/sha256.h"

namespace lexel::train {
namespace {

constexpr int64_t kEvaluationBatch = 32;

/// Mean over what was added.
struct Mean {
  double sum = 0.0;
  int64_t count = 0;
  void add(double value) {
    sum += value;
    ++count;
  }
  double value() const { return sum / double(std::max<int64_t>(count, 1)); }
};

}  // namespace

GeneratorTask::GeneratorTask(const GeneratorRecipe& recipe, const GeneratorData& data,
                             const Options& options, const at::Tensor& codes,
                             std::optional<ar::Model> from)
    : recipe_(recipe),
      noise_captions_(parse_curve(recipe.noise_captions, "noise_captions")),
      noise_most_(parse_curve(recipe.noise_most, "noise_most")),
      noise_blind_(parse_curve(recipe.noise_blind, "noise_blind")),
      places_(parse_curve(recipe.places, "places")),
      data_(data),
      options_(options),
      model_(ar::model_layout(recipe.model)) {
  if (recipe.pretrain_text_steps > 0) {
    initialise(train::parameters(masked_head_, recipe.model), uint64_t(recipe.schedule.seed),
               options.device);
  }
  check(recipe.model.tasks == 0 || int64_t(data.sources.size()) <= recipe.model.tasks,
        ErrorKind::kUsage, "model.tasks: expected at least ", data.sources.size(),
        ", one for each source of pictures, got ", recipe.model.tasks);
  if (options.plan) {
    check(recipe.pretrain_text_steps == 0, ErrorKind::kUnsupported,
          "pretrain_text_steps: a model that lies on several ranks is not pre-trained; do it "
          "first, on one");
    parted_ = std::make_unique<PartedGenerator>(recipe.model, *options.plan, *options.mesh);
  }
  start_model(codes, std::move(from));
  read_held_out();
}

void GeneratorTask::start_model(const at::Tensor& codes, std::optional<ar::Model> from) {
  const auto seed = uint64_t(recipe_.schedule.seed);
  std::map<std::string, at::Tensor> given;
  if (from) given = named_tensors(ar::parameters(*from));
  from.reset();
  for (const Parameter& p : ar::parameters(model_)) {
    if (parted_ && !parted_->holds(p.name)) continue;
    ar::initialise_part(model_, {p}, seed, options_.device);
    if (!given.empty()) {
      assign({p}, {{p.name, given.at(p.name)}});
      given.erase(p.name);
    } else if (recipe_.start == "codes" &&
               (p.tensor == &model_.token_embedding || p.tensor == &model_.softmax.weight)) {
      ar::Model table = ar::model_layout(recipe_.model);
      (p.tensor == &model_.softmax.weight ? table.softmax.weight : table.token_embedding) =
          *p.tensor;
      ar::start_from_codes(table, codes.to(options_.device, at::kFloat), seed);
    }
    if (parted_) *p.tensor = parted_->part_of(*p.tensor, p.name);
  }
}

void GeneratorTask::read_held_out() {
  std::string all;
  for (size_t task = 0; task < data_.sources.size(); ++task) {
    const auto& source = data_.sources[task];
    HeldOut set{source->name(), {}};
    for (int64_t k = 0; k < source->held_out(); ++k) {
      set.samples.push_back(source->held_out_item(k));
      set.samples.back().task = int64_t(task);
    }
    for (size_t begin = 0; begin < set.samples.size(); begin += kEvaluationBatch) {
      const size_t end = std::min(begin + kEvaluationBatch, set.samples.size());
      std::vector<Sample> part(set.samples.begin() + begin, set.samples.begin() + end);
      tokens_of(data_, part);
      for (size_t i = begin; i < end; ++i) {
        set.samples[i].tokens = part[i - begin].tokens;
        set.samples[i].picture = at::Tensor();
        const at::Tensor ids = set.samples[i].tokens.contiguous();
        all += set.samples[i].caption + '\n';
        all.append(static_cast<const char*>(ids.const_data_ptr()), ids.nbytes());
      }
    }
    if (!set.samples.empty()) held_out_.push_back(std::move(set));
  }
  held_out_fingerprint_ = sha256(all.data(), all.size());
}

ParameterList GeneratorTask::parameters() {
  if (parted_) return parted_->parameters(model_);
  ParameterList list = ar::parameters(model_);
  if (recipe_.pretrain_text_steps > 0) {
    const ParameterList head = train::parameters(masked_head_, recipe_.model);
    list.insert(list.end(), head.begin(), head.end());
  }
  return list;
}

std::optional<PlaceOfTensor> GeneratorTask::place_of(const std::string& name) const {
  if (!parted_) return std::nullopt;
  return parted_->place_of(name);
}

ar::Model GeneratorTask::whole_model(at::Device device) {
  return parted_ ? parted_->collect(model_, device) : model_;
}

std::string GeneratorTask::recipe() const { return recipe_fields::write(recipe_); }

ar::ForwardOptions GeneratorTask::forward_options() const {
  ar::ForwardOptions options;
  options.compute = recipe_.schedule.compute == "bf16" ? at::kBFloat16 : at::kFloat;
  return options;
}

ar::Condition GeneratorTask::on_device(const ar::Condition& condition) const {
  const auto moved = [this](const at::Tensor& x) {
    return x.defined() ? x.to(options_.device) : x;
  };
  return {moved(condition.text), moved(condition.lengths), moved(condition.classes),
          moved(condition.tasks)};
}

TaskLoss GeneratorTask::with_experts(TaskLoss loss, const ar::ExpertRecord& record) const {
  if (record.chosen.empty()) return loss;
  loss.loss = loss.loss + recipe_.model.auxiliary_weight * record.auxiliary;
  loss.terms["auxiliary"] = record.auxiliary.detach();
  loss.terms["expert entropy"] = ar::use_entropy(record);
  return loss;
}

void GeneratorTask::start_batches(int64_t first) {
  batches_ = std::make_unique<TokenBatches>(
      data_, TokenBatches::Options{
                 .mixture = recipe_.mixture,
                 .batch = recipe_.schedule.batch,
                 .caption_drop = recipe_.caption_drop,
                 .seed = uint64_t(recipe_.schedule.seed),
                 .first = share_.index(first),
                 .share = share_,
                 .workers = options_.workers,
                 .workers_tokenize = options_.device.is_cpu() && at::get_num_threads() == 1,
                 .cache = options_.cache});
}

TokenBatch GeneratorTask::next_batch(int64_t number) {
  const parallel::Span span(timeline_.get(), "wait for a batch", "wait");
  if (!batches_) start_batches(number);  // the first of this run; the others follow
  return batches_->next();
}

parallel::MicroBatch GeneratorTask::pass_of(int64_t number, double progress,
                                            const TokenBatch& batch) const {
  parallel::MicroBatch pass;
  pass.options = forward_options();
  pass.options.dropout = recipe_.dropout;
  pass.options.seed = uint64_t(recipe_.schedule.seed);
  pass.options.step = number;
  pass.options.rematerialize = recipe_.rematerialize;
  if (parted_) {
    pass.options.runner = parted_->runner();
    pass.options.exchange = parted_->exchange();
  }
  // Captions of one length, whatever the mesh: ranks exchange as many rows.
  if (recipe_.model.experts > 0 && recipe_.model.text_depth > 1)
    pass.options.text_tokens = recipe_.model.max_text_tokens;
  if (!batch.tokens.defined()) {  // captions alone
    pass.lesson.condition = batch.condition;
    return pass;
  }
  const TokenNoise noise{noise_most_.at(progress), noise_blind_.at(progress)};
  const int64_t first = number * recipe_.schedule.batch;
  const uint64_t seed = pass.options.seed;
  const at::Tensor seen =
      noisy_tokens(batch.tokens, recipe_.model.codebook_size, noise, seed, first);
  const ar::Condition read = data_.text ? noisy_captions(batch.condition, *data_.text,
                                                         noise_captions_.at(progress), seed, first)
                                        : batch.condition;
  const int64_t all = batch.tokens.size(1);
  const auto count = std::max<int64_t>(1, std::llround(places_.at(progress) * double(all)));
  pass.lesson.condition = on_device(read);
  pass.lesson.tokens = batch.tokens.to(options_.device);
  pass.lesson.seen = seen.to(options_.device);
  if (count < all)
    pass.lesson.places = chosen_places(batch.tokens, count, seed, first).to(options_.device);
  return pass;
}

TaskLoss GeneratorTask::loss(int64_t number, double progress) {
  const TokenBatch batch = next_batch(number);
  const parallel::Span span(timeline_.get(),
                            concat("forward ", number % recipe_.schedule.accumulation), "forward");
  parallel::MicroBatch pass = pass_of(number, progress, batch);
  ar::ExpertRecord experts;
  pass.options.experts = &experts;
  if (number < text_batches()) {
    MaskedCaptions captions =
        mask_captions(batch.condition, *data_.text, pass.options.seed, number);
    captions.condition = on_device(captions.condition);
    captions.places = captions.places.to(options_.device);
    captions.pieces = captions.pieces.to(options_.device);
    const at::Tensor loss = masked_loss(model_, masked_head_, captions, pass.options);
    return with_experts({loss, {{"masked pieces", loss.detach()}}}, experts);
  }
  const ar::Lesson& lesson = pass.lesson;
  return with_experts({ar::token_loss(model_, lesson.condition, lesson.tokens, pass.options,
                                      lesson.seen, lesson.places),
                       {}},
                      experts);
}

std::vector<TaskLoss> GeneratorTask::train_step(const std::vector<int64_t>& numbers,
                                                double progress) {
  std::vector<TaskLoss> result;
  if (parted_->pipelined()) {
    std::vector<parallel::MicroBatch> passes;
    std::vector<ar::ExpertRecord> experts(numbers.size());
    for (const int64_t number : numbers) {
      passes.push_back(pass_of(number, progress, next_batch(number)));
      passes.back().options.experts = &experts[passes.size() - 1];
    }
    const at::Tensor losses = parted_->train(model_, passes);
    if (timeline_) parted_->add_to(*timeline_);
    at::Tensor entropies;
    if (recipe_.model.experts > 0)
      entropies = use_entropies(experts, options_.mesh->along("pipeline"), options_.device);
    for (int64_t i = 0; i < losses.size(0); ++i) {
      result.push_back({losses[i], {}});
      if (!entropies.defined()) continue;
      const at::Tensor& auxiliary = experts[size_t(i)].auxiliary;  // of all stages
      result.back().loss = losses[i] + recipe_.model.auxiliary_weight * auxiliary;
      result.back().terms = {{"auxiliary", auxiliary}, {"expert entropy", entropies[i]}};
    }
  } else {
    for (const int64_t number : numbers) {
      result.push_back(loss(number, progress));
      const parallel::Span span(timeline_.get(), "backward", "backward");
      (result.back().loss / double(numbers.size())).backward();
    }
  }
  if (parted_->exchange() != nullptr) parted_->reduce_over_experts(model_);
  return result;
}

at::Tensor GeneratorTask::nats_of(std::vector<Sample> samples) {
  ar::ForwardOptions options = forward_options();
  if (parted_) {
    options.runner = parted_->runner();
    options.exchange = parted_->exchange();
  }
  if (!parted_ || !parted_->pipelined())
    return -ar::token_log_likelihoods(model_, on_device(condition_of(data_, samples)),
                                      tokens_of(data_, samples).to(options_.device), options)
                .mean(1)
                .to(at::kCPU, at::kDouble);
  std::vector<parallel::MicroBatch> passes;  // a sample each, whose loss is its own
  for (const Sample& sample : samples) {
    parallel::MicroBatch pass{{}, options};
    pass.lesson.condition = on_device(condition_of(data_, {sample}));
    pass.lesson.tokens = sample.tokens.unsqueeze(0).to(options_.device, at::kLong);
    passes.push_back(std::move(pass));
  }
  return parted_->evaluate(model_, std::move(passes)).to(at::kCPU, at::kDouble);
}

TaskEvaluation GeneratorTask::evaluate(int64_t) {
  const at::NoGradGuard no_grad;
  write_cache();
  // Ranks that hold the same weights share the batches.
  const int64_t ranks = options_.mesh == nullptr ? 1 : options_.mesh->along("data").size();
  int64_t count = 0, number = 0;
  for (const HeldOut& set : held_out_) count += std::ssize(set.samples);
  std::vector<double> nats(size_t(count), 0.0);
  int64_t first = 0;
  for (const HeldOut& set : held_out_) {
    for (int64_t begin = 0; begin < std::ssize(set.samples); begin += kEvaluationBatch, ++number) {
      if (ranks > 1 && number % ranks != options_.mesh->coordinate("data")) continue;
      const int64_t end = std::min(begin + kEvaluationBatch, int64_t(std::ssize(set.samples)));
      const at::Tensor part =
          nats_of({set.samples.begin() + begin, set.samples.begin() + end});  // (n)
      std::copy_n(part.const_data_ptr<double>(), end - begin, nats.begin() + first + begin);
    }
    first += std::ssize(set.samples);
  }
  if (ranks > 1) sum_over(options_.mesh->along("data"), nats);

  std::map<std::string, Mean> means;
  Mean overall;
  auto next = nats.begin();
  for (const HeldOut& set : held_out_) {
    for (const Sample& sample : set.samples) {
      const double value = *next++;
      means["nll/" + set.source].add(value);
      if (!sample.kind.empty()) means["nll/" + sample.kind].add(value);
      overall.add(value);
    }
  }
  TaskEvaluation result;
  for (const auto& [name, mean] : means) result.metrics[name] = mean.value();
  const auto scenes = means.find("nll/scenes");
  result.score = -(scenes == means.end() ? overall : scenes->second).value();
  if (recipe_.samples > 0 && !held_out_.empty()) {
    const ar::Model model = whole_model(options_.device);
    if (leads()) draw_samples(model, result);
  }
  return result;
}

void GeneratorTask::draw_samples(const ar::Model& model, TaskEvaluation& evaluation) const {
  const std::vector<Sample>& known = held_out_.front().samples;
  const auto count = std::min(size_t(recipe_.samples), known.size());
  const std::vector<Sample> samples(known.begin(), known.begin() + int64_t(count));
  const ar::GenerateOptions options{.guidance = recipe_.guidance,
                                    .temperature = recipe_.temperature,
                                    .top_k = recipe_.top_k,
                                    .top_p = recipe_.top_p,
                                    .seed = uint64_t(recipe_.schedule.seed)};
  const auto format = options_.stored == ar::Stored::kInt8 ? kernels::WeightFormat::kInt8
                                                           : kernels::WeightFormat::kBFloat16;
  const ar::Generated drawn =
      ar::generate(ar::pack(model, format), on_device(condition_of(data_, samples)),
                   on_device(condition_of(data_, {Sample()}, {true})),
                   at::arange(int64_t(count), at::kLong), options);
  evaluation.samples = data_.tokenizer->decode(drawn.tokens.cpu());
  for (const Sample& sample : samples) {
    evaluation.captions.push_back(data_.config.text_depth > 0 || sample.label < 0
                                      ? sample.caption
                                      : "class " + std::to_string(sample.label) + ' ' +
                                            sample.caption);
  }
}

void GeneratorTask::write_model(const std::string& path, const std::string& provenance) {
  const ar::Model model = whole_model(at::kCPU);
  if (path.empty()) return;
  const TokenizerInfo& tokenizer = data_.tokenizer->info();
  const ar::Generator generator{model, data_.text, tokenizer.codebook_fingerprint, tokenizer.name};
  auto whole = nlohmann::ordered_json::parse(provenance);
  if (!options_.from.empty()) whole["from"] = nlohmann::ordered_json::parse(options_.from);
  write_model_file(path,
                   ar::generator_file(generator, options_.stored, whole.dump(), "Apache-2.0"));
}

std::string GeneratorTask::data_provenance() const {
  nlohmann::ordered_json train = nlohmann::ordered_json::object(), held_out = train;
  std::string all = data_.tokenizer->info().codebook_fingerprint;
  if (data_.text) all += data_.text->fingerprint();
  for (const auto& source : data_.sources) {
    train[source->name()] = source->items();
    all += source->name() + source->fingerprint();
  }
  for (const HeldOut& set : held_out_) held_out[set.source] = set.samples.size();
  all += held_out_fingerprint_;
  return nlohmann::ordered_json({{"train", train},
                                 {"held_out", held_out},
                                 {"held_out_fingerprint", held_out_fingerprint_},
                                 {"tokenizer", data_.tokenizer->info().codebook_fingerprint},
                                 {"text_tokenizer", data_.text ? data_.text->fingerprint() : ""},
                                 {"fingerprint", sha256(all.data(), all.size())}})
      .dump();
}

void GeneratorTask::write_cache() {
  if (batches_) batches_->write_cache();
}

}  // namespace lexel::train
