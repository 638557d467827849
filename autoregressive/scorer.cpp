#include "autoregressive/scorer.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/fields_json.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel {
namespace {

constexpr const char* kKind = "scorer";

void check_finite(const at::Tensor& tensor, const std::string& prefix, const std::string& key) {
  check(at::isfinite(tensor).all().item<bool>(), ErrorKind::kBadData, prefix, "tensor \"", key,
        "\" holds a value that is not finite");
}

/// The model's tensors out of a file. Shapes are compared before memory is taken.
void read_tensors(ar::ScorerModel& model, std::map<std::string, at::Tensor> tensors,
                  const std::string& name, at::Device device) {
  const ParameterList list = ar::parameters(model);
  for (const Parameter& parameter : list) {
    const auto found = tensors.find(parameter.name);
    check(found != tensors.end(), ErrorKind::kBadData, name, ": tensor \"", parameter.name,
          "\" is missing");
    check(found->second.sizes() == at::IntArrayRef(parameter.shape) &&
              found->second.is_floating_point(),
          ErrorKind::kBadData, name, ": tensor \"", parameter.name, "\": expected floats of shape ",
          at::IntArrayRef(parameter.shape), ", got ", found->second.scalar_type(), " of shape ",
          found->second.sizes());
  }
  for (const Parameter& parameter : list) {
    *parameter.tensor = tensors.at(parameter.name).to(device, at::kFloat, false, /*copy=*/true);
    check_finite(*parameter.tensor, name + ": ", parameter.name);
    tensors.erase(parameter.name);
  }
  check(tensors.empty(), ErrorKind::kBadData, name, ": tensor \"",
        tensors.empty() ? "" : tensors.begin()->first, "\" is unexpected");
}

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
  check_arg(stored == at::kFloat || stored == at::kBFloat16, "scorer_file",
            "expected float32 or bfloat16, got ", stored);
  ModelFile file;
  file.kind = kKind;
  file.config = fields_json::write(model.config);
  file.preprocess = "{}";
  file.provenance = provenance;
  file.license = license;
  ar::ScorerModel view = model;  // its tensors share the model's memory
  for (const auto& [key, tensor] : named_tensors(ar::parameters(view))) {
    const at::Tensor value = tensor.cpu().to(tensor.dim() > 1 ? stored : at::kFloat);
    check_finite(value, "", key);
    file.tensors.emplace(key, value);
  }
  file.tensors.emplace(kTextTokenizerTensor, text_tokenizer_tensor(text));
  return file;
}

Scorer load_scorer(const std::string& path, at::Device device) {
  ModelFile file = read_model_file(path);
  check(file.kind == kKind, ErrorKind::kUnsupported, path, ": expected a model of kind ", kKind,
        ", got \"", file.kind, "\"");
  const auto tokenizer = file.tensors.find(kTextTokenizerTensor);
  check(tokenizer != file.tensors.end(), ErrorKind::kBadData, path, ": tensor \"",
        kTextTokenizerTensor, "\" is missing");
  std::shared_ptr<const TextTokenizer> text =
      text_tokenizer_from_tensor(tokenizer->second, path + ": " + kTextTokenizerTensor);
  file.tensors.erase(tokenizer);
  ar::ScorerModel model = ar::scorer_layout(fields_json::read<ar::ScorerConfig>(file.config, path));
  check(model.config.text_vocabulary == text->vocabulary_size(), ErrorKind::kBadData, path,
        ": the model knows ", model.config.text_vocabulary, " pieces, its text tokenizer ",
        text->vocabulary_size());
  read_tensors(model, std::move(file.tensors), path, device);
  return {std::move(model), std::move(text)};
}

}  // namespace lexel
