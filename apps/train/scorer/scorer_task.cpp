#include "apps/train/scorer/scorer_task.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/tensor.h>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "apps/train/recipe_fields.h"
#include "apps/train/scorer/evaluation.h"
#include "autoregressive/scorer.h"
#include "tokenizers/io/sha256.h"

namespace lexel::train {
namespace {

constexpr int64_t kDistractors = 16;
constexpr int64_t kSamples = 16;    // pictures in the report
constexpr int64_t kEvalBatch = 64;  // pictures of a forward pass
constexpr const char* kLicense =
    "Apache-2.0 as far as Lexel holds rights; trained on scenes composed of emoji drawings, "
    "Noto (Apache-2.0) and EmojiOne (CC-BY-SA-4.0), some before photographs (see provenance)";

ar::ScorerConfig with_vocabulary(ar::ScorerConfig config, const TextTokenizer& text) {
  config.text_vocabulary = text.vocabulary_size();
  return config;
}

}  // namespace

ScorerTask::ScorerTask(const ScorerRecipe& recipe, std::shared_ptr<const TextTokenizer> text,
                       const data::Composer& composer, const ImageTokenizer* tokenizer,
                       at::Device device)
    : recipe_(recipe),
      text_(std::move(text)),
      composer_(composer),
      tokenizer_(tokenizer),
      scenes_(composer, tokenizer, recipe),
      model_(ar::make_scorer(with_vocabulary(recipe.model, *text_),
                             static_cast<uint64_t>(recipe.schedule.seed), device)) {}

std::string ScorerTask::recipe() const { return recipe_fields::write(recipe_); }

at::Tensor ScorerTask::embed(const std::vector<std::string>& captions) const {
  const EncodedCaptions text = encode_captions(*text_, captions, model_.config.max_text_tokens);
  const at::Device device = model_.log_scale.device();
  // Without the columns that are padding in every row.
  const auto ids = text.ids.narrow(1, 0, text.lengths.max().item<int64_t>());
  return ar::embed_texts(model_, ids.to(device), text.lengths.to(device),
                         recipe_.schedule.compute == "bf16" ? at::kBFloat16 : at::kFloat);
}

at::Tensor ScorerTask::embed(const at::Tensor& pictures) const {
  const at::ScalarType compute = recipe_.schedule.compute == "bf16" ? at::kBFloat16 : at::kFloat;
  std::vector<at::Tensor> rows;
  for (int64_t begin = 0; begin < pictures.size(0); begin += kEvalBatch) {
    const auto part = pictures.narrow(0, begin, std::min(kEvalBatch, pictures.size(0) - begin));
    rows.push_back(ar::embed_pictures(model_, part.to(model_.log_scale.device()), compute));
  }
  return rows.size() == 1 ? rows[0] : at::cat(rows);
}

TaskLoss ScorerTask::loss(int64_t number, double /*progress*/) {
  const ScorerBatch batch = scenes_.batch(number);
  const auto pictures = embed(batch.pictures);
  const auto captions = embed(batch.captions);
  const auto loss = ar::contrastive_loss(pictures, captions, model_.log_scale,
                                         batch.ignored.to(pictures.device()));
  const auto own = captions.detach().narrow(0, 0, pictures.size(0));
  return {loss, {{"cosine", (pictures.detach() * own).sum(1).mean()}}};
}

TaskEvaluation ScorerTask::evaluate(int64_t /*step*/) {
  const HeldOutScenes& scenes = scenes_.held_out();
  std::vector<std::string> changed;
  std::vector<int64_t> counts;
  for (const auto& captions : scenes.changed) {
    counts.push_back(static_cast<int64_t>(captions.size()));
    for (const ChangedCaption& caption : captions) changed.push_back(caption.caption);
  }
  const auto texts = embed(scenes.captions), changed_texts = embed(changed);
  const auto picture_of = at::tensor(counts, at::kLong).to(texts.device());

  TaskEvaluation out;
  const auto judge = [&](const std::string& suffix, const at::Tensor& images) {
    const auto pictures = embed(images);
    const Share found = recall(at::matmul(texts, pictures.t()), scenes.contents, kDistractors,
                               static_cast<uint64_t>(recipe_.schedule.seed));
    out.metrics["recall/" + suffix] = found.value();
    out.metrics["interval/" + suffix + " low"] = found.low();
    out.metrics["interval/" + suffix + " high"] = found.high();
    const auto apart =
        told_apart((pictures * texts).sum(1),
                   (at::repeat_interleave(pictures, picture_of, 0) * changed_texts).sum(1), scenes);
    double mean = 0.0;
    for (const auto& [change, share] : apart) {
      out.metrics[std::string("told apart/") + name_of(change) + " " + suffix] = share.value();
      mean += share.value() / double(apart.size());
    }
    return found.value() + mean;
  };
  out.score = judge("composed", scenes.pictures);
  // Decoded pictures are what will be judged.
  if (scenes.decoded.defined()) out.score = judge("decoded", scenes.decoded);
  const at::Tensor& shown = scenes.decoded.defined() ? scenes.decoded : scenes.pictures;
  const int64_t samples = std::min(kSamples, shown.size(0));
  out.samples = shown.narrow(0, 0, samples);
  out.captions.assign(scenes.captions.begin(), scenes.captions.begin() + samples);
  return out;
}

void ScorerTask::write_model(const std::string& path, const std::string& provenance) {
  write_model_file(path, scorer_file(model_, *text_, provenance, kLicense, at::kBFloat16));
}

std::string ScorerTask::data_provenance() const {
  const std::string codebook = tokenizer_ ? tokenizer_->info().codebook_fingerprint : "";
  const std::string identity =
      composer_.fingerprint() + " " + text_->fingerprint() + " " + codebook;
  return nlohmann::ordered_json{{"fingerprint", sha256(identity.data(), identity.size())},
                                {"scenes", composer_.fingerprint()},
                                {"things", composer_.things().size()},
                                {"text_tokenizer", text_->fingerprint()},
                                {"picture_tokenizer", codebook}}
      .dump();
}

}  // namespace lexel::train
