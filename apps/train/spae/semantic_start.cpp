#include "apps/train/spae/semantic_start.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <map>
#include <set>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::train {

void start_from_guide(spae::Model& model, const spae::DualEncoder& guide) {
  const at::NoGradGuard no_grad;
  spae::SemanticPath& path = model.semantic_path;
  const int64_t width = guide.config.word_width;
  check_arg(path.hidden.weight.sizes() == guide.hidden.weight.sizes(), "start_from_guide",
            "expected a semantic path with a hidden layer of ", guide.hidden.weight.sizes(),
            ", got ", path.hidden.weight.sizes());
  const at::Tensor folded = guide.hidden.weight * guide.feature_scale;  // (hidden, F)
  path.hidden.weight.copy_(folded);
  path.hidden.bias.copy_(guide.hidden.bias - at::matmul(folded, guide.feature_mean));
  if (model.config.upper_words == "guide") {
    path.out.weight.copy_(guide.out.weight.narrow(0, 0, width));
    path.out.bias.copy_(guide.out.bias.narrow(0, 0, width));
    return;
  }
  const spae::WordProjection projection =
      spae::principal_components(model.codebook.semantics, model.config.code_width);
  const at::Tensor basis = projection.basis.t();  // (D, S)
  const at::Tensor head = at::matmul(basis, guide.out.weight.narrow(0, 0, width));
  const at::Tensor bias = at::matmul(basis, guide.out.bias.narrow(0, 0, width));
  const int64_t positions = path.heads.weight.size(0) / model.config.code_width;
  path.heads.weight.copy_(head.repeat({positions, 1}));
  path.heads.bias.copy_(bias.repeat({positions}));
}

std::vector<int64_t> said_words(const WordPictures& pictures, int64_t least) {
  std::map<int64_t, int64_t> captions;  // that hold a word
  for (int64_t i = 0; i < pictures.drawings(); ++i) {
    const data::PictureWords& truth = pictures.words_of(i);
    std::set<int64_t> words(truth.names.begin(), truth.names.end());
    words.insert(truth.others.begin(), truth.others.end());
    for (const int64_t word : words) ++captions[word];
  }
  std::vector<int64_t> said;
  for (const auto& [word, count] : captions)
    if (count >= least) said.push_back(word);
  check_arg(!said.empty(), "said_words", "no word is in ", least,
            " captions of drawings: lower said_at_least");
  return said;
}

void say_words(spae::Model& model, const std::vector<int64_t>& rows) {
  const at::NoGradGuard no_grad;
  const at::Tensor index = at::tensor(rows, at::kLong).to(model.codebook.semantics.device());
  model.semantic_path.rows.copy_(index);
  model.semantic_path.vectors.copy_(model.codebook.semantics.index_select(0, index));
}

at::Tensor dropped_features(const at::Tensor& features, const at::Tensor& mean, double share,
                            uint64_t seed, int64_t number) {
  if (share <= 0.0) return features;
  Philox random(seed, "feature dropout", static_cast<uint64_t>(number));
  at::Tensor kept = at::empty(features.sizes(), at::kFloat);
  auto* const out = kept.mutable_data_ptr<float>();
  const auto scale = static_cast<float>(1.0 / (1.0 - share));
  for (int64_t i = 0; i < kept.numel(); ++i) out[i] = random.uniform() < share ? 0.0F : scale;
  return mean + (features - mean) * kept.to(features.device());
}

}  // namespace lexel::train
