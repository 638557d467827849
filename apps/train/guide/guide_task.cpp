#include "apps/train/guide/guide_task.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/train/guide/word_match.h"
#include "apps/train/recipe_fields.h"
#include "kernels/check.h"
#include "kernels/philox.h"
#include "tokenizers/guide_file.h"

namespace lexel::train {
namespace {

constexpr double kFirstScale = 10.0;  // of the softmax over words
constexpr int64_t kSaid = 5;          // words that an evaluation looks at
constexpr int64_t kSamples = 32;      // pictures in the report
constexpr const char* kLicense =
    "Apache-2.0 as far as Lexel holds rights; the eye is EfficientNet-Lite0 (Apache-2.0), learned "
    "on "
    "ImageNet; words by all-MiniLM-L6-v2 (Apache-2.0); learned from emoji (Apache-2.0, "
    "CC-BY-SA-4.0), clip art (public domain, GPL-2+, CC-BY-SA-3.0) and photographs (GPL-2+, "
    "CC-BY-SA)";

std::vector<data::PictureWords> words_of_all(int64_t count, const auto& words_of) {
  std::vector<data::PictureWords> all;
  for (int64_t i = 0; i < count; ++i) all.push_back(words_of(i));
  return all;
}

}  // namespace

spae::DualEncoder fresh_guide(const spae::GuideConfig& config, vqgan::PerceptualNet eye,
                              const at::Tensor& word_mean, const at::Tensor& class_vectors,
                              uint64_t seed, at::Device device) {
  spae::DualEncoder guide = spae::dual_encoder_layout(config);
  const ParameterList list = parameters(guide);
  initialise(list, seed, device);
  guide.eye = std::move(eye);
  guide.log_scale.fill_(std::log(kFirstScale));
  check_arg(class_vectors.sizes() == guide.class_vectors.sizes() &&
                word_mean.sizes() == at::IntArrayRef({config.word_width}),
            "fresh_guide", "expected class vectors ", guide.class_vectors.sizes(), ", got ",
            class_vectors.sizes());
  guide.class_vectors =
      spae::unit_rows(spae::unit_rows(class_vectors) - word_mean).to(device).contiguous();
  return guide;
}

GuideTask::GuideTask(const GuideRecipe& recipe, spae::DualEncoder guide, WordPictures& pictures,
                     FeatureBank bank, const spae::LexicalCodebook& words, at::ScalarType stored)
    : recipe_(recipe),
      guide_(std::move(guide)),
      pictures_(pictures),
      bank_(std::move(bank)),
      words_(words),
      stored_(stored),
      device_(guide_.feature_mean.device()) {
  check_arg(words_.semantics.defined() && words_.semantics.size(1) == guide_.config.word_width,
            "GuideTask", "expected words of ", guide_.config.word_width, " numbers");
  semantics_ = words_.semantics.to(device_);
  const at::Tensor seen =
      at::cat({bank_.drawings.flatten(0, 1), bank_.photos.flatten(0, 1)}).to(at::kFloat);
  guide_.feature_mean.copy_(seen.mean(at::IntArrayRef{0}));
  guide_.feature_scale.copy_((seen - seen.mean(at::IntArrayRef{0}))
                                 .square()
                                 .mean(at::IntArrayRef{0})
                                 .sqrt()
                                 .clamp_min(1e-3)
                                 .reciprocal());
}

std::string GuideTask::recipe() const { return recipe_fields::write(recipe_); }

/// (rows, columns): 0 for what is dropped, else 1 / (1 - dropout).
at::Tensor GuideTask::mask(Philox& random, int64_t rows, int64_t columns, double dropout) const {
  at::Tensor kept = at::empty({rows, columns}, at::kFloat);
  auto* out = kept.mutable_data_ptr<float>();
  const auto limit = static_cast<uint32_t>(dropout * 4294967295.0);
  const auto value = static_cast<float>(1.0 / (1.0 - dropout));
  for (int64_t i = 0; i < rows * columns; ++i) out[i] = random.next_u32() < limit ? 0.0F : value;
  return kept.to(device_);
}

TaskLoss GuideTask::loss(int64_t number, double /*progress*/) {
  const auto seed = static_cast<uint64_t>(recipe_.schedule.seed);
  Philox random(seed, "guide batch", static_cast<uint64_t>(number));
  const int64_t batch = recipe_.schedule.batch, words = semantics_.size(0);
  const int64_t photos =
      pictures_.photos() == 0 ? 0 : std::llround(recipe_.photo_share * static_cast<double>(batch));
  const int64_t drawings = batch - photos;
  const auto any = [&random](int64_t count) {
    return static_cast<int64_t>(random.uniform_int(static_cast<uint64_t>(count)));
  };
  std::vector<at::Tensor> rows;
  at::Tensor wanted = at::zeros({drawings, words}, at::kFloat);
  at::Tensor weights = at::empty({drawings}, at::kFloat);
  for (int64_t b = 0; b < drawings; ++b) {
    const int64_t which = any(pictures_.drawings());
    rows.push_back(bank_.drawings.select(0, which).select(0, any(recipe_.views)));
    const data::PictureWords& truth = pictures_.words_of(which);
    auto* const row = wanted.mutable_data_ptr<float>() + b * words;
    const double total = static_cast<double>(truth.names.size()) +
                         recipe_.other_weight * static_cast<double>(truth.others.size());
    for (const int64_t word : truth.names) row[word] = static_cast<float>(1.0 / total);
    for (const int64_t word : truth.others)
      row[word] = static_cast<float>(recipe_.other_weight / total);
    weights.mutable_data_ptr<float>()[b] = static_cast<float>(truth.weight);
  }
  for (int64_t b = 0; b < photos; ++b)
    rows.push_back(
        bank_.photos.select(0, any(pictures_.photos())).select(0, any(recipe_.photo_views)));

  const at::Tensor features = at::stack(rows).to(device_, at::kFloat);
  const at::Tensor inputs = spae::standardised(guide_, features) *
                            mask(random, batch, features.size(1), recipe_.feature_dropout);
  const spae::GuideView view =
      spae::look(guide_, inputs, mask(random, batch, guide_.config.hidden, recipe_.hidden_dropout));
  const at::Tensor logits = at::matmul(view.vectors.narrow(0, 0, drawings), semantics_.t()) *
                            guide_.log_scale.exp();  // (B, K)
  const at::Tensor each = (at::log_softmax(logits, 1) * wanted.to(device_)).sum(1).neg();
  weights = weights.to(device_);
  const at::Tensor word_loss = (each * weights).sum() / weights.sum();
  const at::Tensor is_photo =
      at::cat({at::zeros({drawings}, at::kFloat), at::full({photos}, 1.0F)}).to(device_);
  const at::Tensor photo_loss = at::binary_cross_entropy_with_logits(view.photo, is_photo);
  return {word_loss + photo_loss * recipe_.photo_weight,
          {{"words", word_loss.detach()},
           {"photo", photo_loss.detach()},
           {"scale", guide_.log_scale.detach().exp().squeeze()}}};
}

TaskEvaluation GuideTask::evaluate(int64_t /*step*/) {
  const auto words_at = [this](const at::Tensor& features) {
    const at::Tensor rows = features.to(device_, at::kFloat);
    return std::get<1>(spae::guide_scores(guide_, rows, semantics_).topk(kSaid, 1)).cpu();
  };
  const auto truths = words_of_all(pictures_.held_out_drawings(),
                                   [this](int64_t i) { return pictures_.words_of_held_out(i); });
  const auto training =
      words_of_all(pictures_.drawings(), [this](int64_t i) { return pictures_.words_of(i); });
  const at::Tensor said = words_at(bank_.held_out_drawings);
  const WordMatch match = word_match(said, truths),
                  prior = prior_match(training, truths, recipe_.other_weight, kSaid);
  TaskEvaluation result;
  result.score = match.any;
  result.metrics = {{"name@1", match.name_first},
                    {"name@5", match.name},
                    {"any@1", match.any_first},
                    {"any@5", match.any},
                    {"prior name@5", prior.name},
                    {"prior any@5", prior.any},
                    {"held out", static_cast<double>(truths.size())}};
  if (bank_.held_out_photos.size(0) > 0) {
    const at::Tensor photo =
        spae::look(guide_,
                   spae::standardised(guide_, bank_.held_out_photos.to(device_, at::kFloat)))
            .photo;
    result.metrics["photos told"] = photo.gt(0).to(at::kFloat).mean().item<double>();
  }
  // Half of the samples are photos: what is said of them has no caption to be judged by.
  std::vector<at::Tensor> samples;
  const auto add = [&](int64_t count, int64_t of, const at::Tensor& features, const auto& picture,
                       const auto& before) {
    const int64_t shown = std::min(count, of);
    if (shown == 0) return;
    const at::Tensor ids = words_at(features);
    for (int64_t k = 0; k < shown; ++k) {
      const int64_t i = k * of / shown;
      samples.push_back(picture(i));
      std::string text = before(i);
      for (int64_t j = 0; j < kSaid; ++j)
        text += (j == 0 ? "" : " ") +
                words_.words[static_cast<size_t>(ids.select(0, i).select(0, j).item<int64_t>())];
      result.captions.push_back(text);
    }
  };
  add(
      kSamples / 2, pictures_.held_out_drawings(), bank_.held_out_drawings,
      [&](int64_t i) { return pictures_.held_out_drawing(i); },
      [&](int64_t i) { return pictures_.words_of_held_out(i).subject + ": "; });
  add(
      kSamples / 2, pictures_.held_out_photos(), bank_.held_out_photos,
      [&](int64_t i) { return pictures_.held_out_photo(i); },
      [](int64_t) { return std::string(); });
  result.samples = at::stack(samples);
  return result;
}

void GuideTask::write_model(const std::string& path, const std::string& provenance) {
  write_model_file(path, guide_file(guide_, stored_, provenance, kLicense));
}

std::string GuideTask::data_provenance() const {
  return nlohmann::ordered_json{{"fingerprint", pictures_.fingerprint()},
                                {"drawings", pictures_.drawings()},
                                {"photos", pictures_.photos()},
                                {"held-out drawings", pictures_.held_out_drawings()},
                                {"words", words_.words.size()}}
      .dump();
}

}  // namespace lexel::train
