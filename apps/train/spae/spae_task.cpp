#include "apps/train/spae/spae_task.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "apps/eval/floors.h"
#include "apps/eval/metrics.h"
#include "apps/train/guide/word_match.h"
#include "apps/train/recipe_fields.h"
#include "apps/train/schedule.h"
#include "kernels/check.h"
#include "kernels/philox.h"
#include "tokenizers/guide_file.h"
#include "tokenizers/spae_file.h"

namespace lexel::train {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kEvalBatch = 32;
constexpr int64_t kFloorPatch = 8;  // pixels, of the mosaic beside each PSNR
constexpr int64_t kSampleColumns =
    8;  // of the runner's sheet: original, mosaic, six prefixes of layers
constexpr double kMatchWorth_dB =
    10.0;  // of the score: all pictures' words right are worth so many dB
constexpr const char* kLicense =
    "Apache-2.0 as far as Lexel holds rights; words of Llama 2's vocabulary as wordllama (MIT) has "
    "it, "
    "vectors by all-MiniLM-L6-v2 (Apache-2.0); learned from emoji (Apache-2.0, CC-BY-SA-4.0), clip "
    "art (public domain, GPL-2+, CC-BY-SA-3.0) and photographs (GPL-2+, CC-BY-SA)";

/// The compute dtype of a recipe.
at::ScalarType compute_of(const SpaeRecipe& recipe) {
  return recipe.schedule.compute == "bf16" ? at::kBFloat16 : at::kFloat;
}

/// Numbers of layers that an evaluation draws: at most six, from the first to all.
std::vector<int64_t> prefixes(int64_t layers) {
  const int64_t count = std::min<int64_t>(layers, kSampleColumns - 2);
  std::vector<int64_t> result;
  for (int64_t i = 0; i < count; ++i)
    result.push_back(count == 1 ? layers : 1 + i * (layers - 1) / (count - 1));
  return result;
}

/// The config with as many words to say as the pictures' captions have.
spae::Config with_words(const SpaeRecipe& recipe, const WordPictures& pictures) {
  spae::Config config = recipe.model;
  const bool guided = config.feature_width > 0 && config.upper_words == "guide";
  config.semantic_words =
      guided ? static_cast<int64_t>(said_words(pictures, recipe.said_at_least).size()) : 0;
  return config;
}

}  // namespace

SpaeTask::SpaeTask(const SpaeRecipe& recipe, SpaeData data, at::ScalarType stored,
                   at::Device device)
    : recipe_(recipe),
      data_(std::move(data)),
      stored_(stored),
      device_(device),
      model_(spae::make_model(with_words(recipe, *data_.pictures), data_.words,
                              uint64_t(recipe.schedule.seed), device)),
      mean_real_(at::zeros({1}, at::kFloat).to(device)),
      mean_fake_(at::zeros({1}, at::kFloat).to(device)),
      batches_(recipe_, *data_.pictures, *data_.guide, model_.codebook.semantics, data_.scores) {
  if (recipe_.model.feature_width > 0 && recipe_.start_from_guide)
    start_from_guide(model_, *data_.guide);
  if (model_.semantic_path.rows.defined())
    say_words(model_, said_words(*data_.pictures, recipe_.said_at_least));
  if (recipe_.loss.adversarial > 0.0) {
    vqgan::DiscriminatorConfig config;
    config.image_size = recipe_.model.image_size;
    config.channel_base = recipe_.discriminator_base;
    config.max_channels = recipe_.discriminator_channels;
    discriminator_ = vqgan::make_discriminator(config, uint64_t(recipe_.schedule.seed), device);
  }
}

std::string SpaeTask::recipe() const { return recipe_fields::write(recipe_); }

ParameterList SpaeTask::parameters() {
  ParameterList list = spae::parameters(model_);
  if (recipe_.loss.adversarial <= 0.0) return list;
  for (Parameter& parameter : vqgan::parameters(discriminator_)) {
    parameter.name = "discriminator." + parameter.name;
    parameter.decay = false;
    list.push_back(std::move(parameter));
  }
  const auto running = [&list](const char* name, at::Tensor& mean) {
    list.push_back({name,
                    {1},
                    Init::zeros(),
                    &mean,
                    /*group=*/"",
                    /*decay=*/false,
                    /*trained=*/false});
  };
  running("discriminator.mean_real", mean_real_);
  running("discriminator.mean_fake", mean_fake_);
  return list;
}

std::vector<int64_t> SpaeTask::layers_of_batch(int64_t number) const {
  Philox random(static_cast<uint64_t>(recipe_.schedule.seed), "layers", uint64_t(number));
  const int64_t all = model_.pyramid.layers();
  std::vector<int64_t> layers;
  for (int64_t b = 0; b < recipe_.schedule.batch; ++b) {
    layers.push_back(random.uniform() < recipe_.all_layers
                         ? all
                         : 1 + static_cast<int64_t>(random.uniform_int(uint64_t(all))));
  }
  return layers;
}

TaskLoss SpaeTask::loss(int64_t number, double progress) {
  const auto begin = Clock::now();
  WordBatch samples = batches_.batch(number);
  waited_s_ += std::chrono::duration<double>(Clock::now() - begin).count();
  const auto value_of = [progress](const std::string& curve) {
    return parse_curve(curve, "recipe").at(progress);
  };
  spae::TrainSetup setup{
      .weights = recipe_.loss, .compute = compute_of(recipe_), .perceptual = data_.perceptual};
  setup.weights.commitment *= value_of(recipe_.commitment);
  setup.weights.semantic *= value_of(recipe_.semantic);
  setup.weights.adversarial *= value_of(recipe_.adversarial);
  const bool adversarial = setup.weights.adversarial > 0.0;
  if (adversarial) setup.discriminator = &discriminator_;
  spae::TrainBatch batch;
  batch.images = samples.images;
  if (recipe_.model.feature_width > 0) {
    batch.features = dropped_features(samples.features, data_.guide->feature_mean,
                                      value_of(recipe_.feature_dropout),
                                      uint64_t(recipe_.schedule.seed), number);
  }
  batch.targets = samples.targets;
  batch.layers = layers_of_batch(number);
  batch.quantization = value_of(recipe_.quantization);
  batch.seed = static_cast<uint64_t>(recipe_.schedule.seed);
  batch.number = number;
  const spae::GeneratorStep step = spae::generator_step(model_, setup, batch);
  TaskLoss result{step.total, {step.terms.begin(), step.terms.end()}};
  const at::NoGradGuard no_grad;
  for (size_t l = 0; l < step.forward.choices.size(); ++l) {
    const auto [used, perplexity] =
        eval::codebook_statistics(step.forward.choices[l].ids.cpu(), recipe_.model.num_words);
    result.terms["words of layer " + std::to_string(l + 1)] =
        at::zeros({}).fill_(used * static_cast<double>(recipe_.model.num_words));
  }
  if (adversarial) {
    const at::AutoGradMode gradient(true);
    add_discriminator_loss(setup, batch.images, step.forward.pictures, result);
  }
  return result;
}

/// The discriminator learns in the same backward pass: it gets no gradient from the generator's terms, nor they from its.
void SpaeTask::add_discriminator_loss(const spae::TrainSetup& setup, const at::Tensor& images,
                                      const at::Tensor& pictures, TaskLoss& result) {
  const spae::DiscriminatorStep step = spae::discriminator_step(
      setup, images, pictures, mean_real_.squeeze(0), mean_fake_.squeeze(0));
  result.loss = result.loss + step.total;
  for (const auto& [name, value] : step.terms) result.terms[name] = value;
  const at::NoGradGuard no_grad;
  const double decay = recipe_.lecam_decay;
  mean_real_.mul_(decay).add_(step.real_score.to(at::kFloat) * (1.0 - decay));
  mean_fake_.mul_(decay).add_(step.fake_score.to(at::kFloat) * (1.0 - decay));
}

TaskEvaluation SpaeTask::evaluate(int64_t /*step*/) {
  TaskEvaluation result;
  measure_words(result);
  measure_pictures(result);
  result.score += kMatchWorth_dB * result.metrics["any@5"];
  return result;
}

/// What the upper tokens say of held-out drawings, beside the guide's own best words and the most frequent ones; which words
/// are used at all.
void SpaeTask::measure_words(TaskEvaluation& result) {
  const int64_t count = data_.pictures->held_out_drawings(), layers = model_.pyramid.layers();
  std::vector<at::Tensor> ids, guided;
  std::vector<data::PictureWords> truths, training;
  for (int64_t begin = 0; begin < count; begin += kEvalBatch) {
    const WordBatch batch = batches_.held_out_drawings(begin, std::min(kEvalBatch, count - begin));
    ids.push_back(spae::encode(model_, batch.images,
                               recipe_.model.feature_width > 0 ? batch.features : at::Tensor())
                      .cpu());
    guided.push_back(
        batch.targets.ids.narrow(1, 0, std::min<int64_t>(5, recipe_.known_words)).cpu());
  }
  for (int64_t i = 0; i < count; ++i) truths.push_back(data_.pictures->words_of_held_out(i));
  for (int64_t i = 0; i < data_.pictures->drawings(); ++i)
    training.push_back(data_.pictures->words_of(i));
  const at::Tensor all = at::cat(ids);  // (n, tokens)
  const int64_t upper = model_.pyramid.tokens(std::min<int64_t>(2, layers));
  const WordMatch match = word_match(all.narrow(1, 0, upper), truths),
                  guide = word_match(at::cat(guided), truths),
                  prior = prior_match(training, truths, kPriorOtherWeight, 5);
  result.metrics["name@1"] = match.name_first;
  result.metrics["name@5"] = match.name;
  result.metrics["any@1"] = match.any_first;
  result.metrics["any@5"] = match.any;
  result.metrics["guide name@5"] = guide.name;
  result.metrics["guide any@5"] = guide.any;
  result.metrics["prior name@5"] = prior.name;
  result.metrics["prior any@5"] = prior.any;
  const int64_t words = recipe_.model.num_words;
  for (int64_t l = 0; l < layers; ++l) {
    const int64_t first = model_.pyramid.tokens(l);
    const auto used = eval::codebook_statistics(
        all.narrow(1, first, model_.pyramid.tokens(l + 1) - first).contiguous(), words);
    const std::string name = " of layer " + std::to_string(l + 1);
    result.metrics["words" + name] = used.usage * static_cast<double>(words);
    result.metrics["perplexity" + name] = used.perplexity;
  }
  result.metrics["words"] =
      eval::codebook_statistics(all, words).usage * static_cast<double>(words);
}

/// PSNR by layers beside the mosaic's, and the sheet: a row a picture, of original, mosaic and prefixes of layers.
void SpaeTask::measure_pictures(TaskEvaluation& result) {
  const std::vector<int64_t> drawn = prefixes(model_.pyramid.layers());
  std::vector<at::Tensor> samples;
  double score = 0.0;
  int64_t sets = 0;
  const auto measure = [&](const std::string& set, bool photos) {
    const int64_t of =
        photos ? data_.pictures->held_out_photos() : data_.pictures->held_out_drawings();
    const int64_t count = std::min(recipe_.drawn_held_out, of);
    if (count == 0) return;
    const WordBatch batch =
        photos ? batches_.held_out_photos(0, count) : batches_.held_out_drawings(0, count);
    const at::Tensor ids = spae::encode(
        model_, batch.images, recipe_.model.feature_width > 0 ? batch.features : at::Tensor());
    const at::Tensor floor = eval::mosaic(batch.images, kFloorPatch);
    result.metrics["mosaic psnr, " + set] = eval::psnr(floor, batch.images).mean().item<double>();
    std::vector<at::Tensor> columns{batch.images, floor};
    for (const int64_t n : drawn) {
      const at::Tensor pictures =
          spae::decode(model_, ids.narrow(1, 0, model_.pyramid.tokens(n)).contiguous());
      const double psnr = eval::psnr(pictures, batch.images).mean().item<double>();
      result.metrics["psnr of " + std::to_string(n) + " layers, " + set] = psnr;
      if (n == drawn.back()) score += psnr;
      columns.push_back(pictures);
    }
    ++sets;
    const int64_t shown = std::min<int64_t>(8, count);
    const int64_t upper = model_.pyramid.tokens(std::min<int64_t>(2, model_.pyramid.layers()));
    for (int64_t k = 0; k < shown; ++k) {
      const int64_t i = k * count / shown;
      for (const at::Tensor& column : columns) {
        samples.push_back(column.select(0, i).cpu());
        result.captions.emplace_back();
      }
      std::string& said = result.captions[result.captions.size() - columns.size()];
      if (!photos) said = data_.pictures->words_of_held_out(i).subject + ": ";
      for (int64_t t = 0; t < upper; ++t) {
        const auto id = ids.select(0, i).select(0, t).item<int64_t>();
        said += (t == 0 ? "" : t == 1 ? " | " : " ") + model_.codebook.words[size_t(id)];
      }
    }
  };
  measure("drawings", false);
  measure("photos", true);
  result.score = sets == 0 ? 0.0 : score / static_cast<double>(sets);
  result.samples = at::stack(samples);
}

void SpaeTask::write_model(const std::string& path, const std::string& provenance) {
  Preprocess preprocess;
  preprocess.image_size = recipe_.model.image_size;
  ModelFile file = spae_file(model_, preprocess, provenance, kLicense, stored_);
  if (recipe_.model.feature_width > 0) add_eye(*data_.guide, at::kChar, file);
  write_model_file(path, file);
}

std::string SpaeTask::data_provenance() const {
  return nlohmann::ordered_json{
      {"fingerprint", data_.pictures->fingerprint()},
      {"drawings", data_.pictures->drawings()},
      {"photos", data_.pictures->photos()},
      {"held-out drawings", data_.pictures->held_out_drawings()},
      {"words", model_.codebook.words.size()},
      {"guide", data_.guide_fingerprint},
      {"own scores", data_.scores == nullptr ? 0 : data_.scores->pictures()}}
      .dump();
}

}  // namespace lexel::train
