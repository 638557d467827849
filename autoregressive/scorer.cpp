#include "autoregressive/scorer.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/empty.h>
#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/fields_json.h"
#include "tokenizers/io/model_tensors.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel {
namespace {

constexpr const char* kKind = "scorer";

}  // namespace

Scorer::Scorer(ar::ScorerModel model, std::shared_ptr<const TextTokenizer> text)
    : model_(std::move(model)), text_(std::move(text)) {
  check_arg(text_ && text_->vocabulary_size() == model_.config.text_vocabulary, "Scorer",
            "expected a text tokenizer of ", model_.config.text_vocabulary, " pieces, got ",
            text_ ? text_->vocabulary_size() : 0);
}

at::Tensor Scorer::score(const at::Tensor& images, const std::vector<std::string>& captions) const {
  check_arg(images.dim() == 4 && images.scalar_type() == at::kFloat && images.size(1) == 3 &&
                images.size(2) == images.size(3) && images.size(2) >= 1,
            "Scorer::score", "expected (B, 3, S, S) float32 pictures, got ", images.scalar_type(),
            " of shape ", images.sizes());
  const int64_t batch = images.size(0), size = model_.config.image_size;
  check_arg(batch == static_cast<int64_t>(captions.size()), "Scorer::score",
            "expected one caption a picture, got ", captions.size(), " for ", batch);
  const at::Device device = model_.log_scale.device();
  const EncodedCaptions text = encode_captions(*text_, captions, model_.config.max_text_tokens);

  // Row by row, each at its caption's own length and on one thread: neither the batch nor the number of threads
  // shows in a score.
  const at::Tensor scores = at::empty({batch}, at::kFloat);
  const auto score_row = [&](int64_t k) {
    const at::NoGradGuard no_grad;
    at::Tensor picture = images.narrow(0, k, 1).to(device);
    if (picture.size(2) != size) {
      picture = at::_upsample_bilinear2d_aa(picture, {size, size}, /*align_corners=*/false)
                    .clamp(0.0, 1.0);
    }
    const auto length = text.lengths.narrow(0, k, 1);
    const auto ids = text.ids.narrow(0, k, 1).narrow(1, 0, length.item<int64_t>());
    const auto cosine = (ar::embed_pictures(model_, picture) *
                         ar::embed_texts(model_, ids.to(device), length.to(device)))
                            .sum(1);
    scores.narrow(0, k, 1).copy_(cosine.clamp(-1.0, 1.0));
  };
  if (!device.is_cpu()) {
    for (int64_t k = 0; k < batch; ++k) score_row(k);
    return scores;
  }
  // A range of two at least: LibTorch opens no parallel region, which binds products to a thread, for one.
  at::parallel_for(0, std::max<int64_t>(batch, 2), 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < std::min(end, batch); ++k) score_row(k);
  });
  return scores;
}

ModelFile scorer_file(const ar::ScorerModel& model, const TextTokenizer& text,
                      const std::string& provenance, const std::string& license,
                      at::ScalarType stored) {
  ModelFile file;
  file.kind = kKind;
  file.config = fields_json::write(model.config);
  file.preprocess = "{}";
  file.provenance = provenance;
  file.license = license;
  ar::ScorerModel view = model;  // its tensors share the model's memory
  file.tensors = store_parameters(ar::parameters(view), stored);
  file.tensors.emplace(kTextTokenizerTensor, text_tokenizer_tensor(text));
  return file;
}

Scorer load_scorer(const std::string& path, at::Device device) {
  ModelFile file = read_model_file(path);
  check(file.kind == kKind, ErrorKind::kUnsupported, path, ": expected a model of kind ", kKind,
        ", got \"", file.kind, "\"");
  ar::ScorerModel model = ar::scorer_layout(fields_json::read<ar::ScorerConfig>(file.config, path));
  std::shared_ptr<const TextTokenizer> text =
      take_text_tokenizer(file.tensors, model.config.text_vocabulary, path);
  read_parameters(ar::parameters(model), std::move(file.tensors), path, device);
  return {std::move(model), std::move(text)};
}

}  // namespace lexel
