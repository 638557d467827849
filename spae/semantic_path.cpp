#include "spae/semantic_path.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <cmath>
#include <set>
#include <vector>

#include "kernels/check.h"

namespace lexel::spae {
namespace {

constexpr const char* kGroup = "semantic_path";

void list_fixed(const char* name, std::vector<int64_t> shape, at::Tensor& tensor,
                ParameterList& list) {
  const double std = 1.0 / std::sqrt(static_cast<double>(shape.back()));
  list.push_back({concat("semantic_path.", name), std::move(shape), Init::normal(std), &tensor,
                  kGroup, /*decay=*/false, /*trained=*/false});
}

/// (B, J) rows of the codebook: the guide's words, best first.
at::Tensor best_words(const SemanticPath& path, const at::Tensor& hidden, int64_t count) {
  const at::Tensor vector = vqgan::apply_linear(path.out, hidden);  // (B, S)
  const at::Tensor best =
      std::get<1>(at::matmul(vector, path.vectors.t()).topk(count, 1));  // (B, J) of the candidates
  return path.rows.to(at::kLong).index_select(0, best.flatten()).reshape(best.sizes());
}

}  // namespace

void list_semantic_path(SemanticPath& path, const Config& config, const Pyramid& pyramid,
                        ParameterList& list) {
  if (config.feature_width == 0) return;
  const int64_t positions = pyramid.tokens(config.feature_layers);
  if (config.upper_words == "guide") {
    list_fixed("hidden.weight", {config.feature_hidden, config.feature_width}, path.hidden.weight,
               list);
    list_fixed("hidden.bias", {config.feature_hidden}, path.hidden.bias, list);
    list_fixed("out.weight", {config.semantic_width, config.feature_hidden}, path.out.weight, list);
    list_fixed("out.bias", {config.semantic_width}, path.out.bias, list);
    list_fixed("vectors", {config.semantic_words, config.semantic_width}, path.vectors, list);
    list_fixed("rows", {config.semantic_words}, path.rows, list);
    return;
  }
  const auto std_of = [](int64_t inputs) { return 1.0 / std::sqrt(static_cast<double>(inputs)); };
  vqgan::list_linear("semantic_path.hidden", path.hidden, config.feature_hidden,
                     config.feature_width, true, std_of(config.feature_width), kGroup, list);
  vqgan::list_linear("semantic_path.heads", path.heads, positions * config.code_width,
                     config.feature_hidden, true, std_of(config.feature_hidden), kGroup, list);
}

at::Tensor apply_semantic_path(const SemanticPath& path, const Config& config,
                               const Pyramid& pyramid, const at::Tensor& latents,
                               const at::Tensor& features, const at::Tensor& codes) {
  std::vector<int64_t> positions;  // (J), in token order
  for (int64_t layer = 0; layer < config.feature_layers; ++layer) {
    const auto& own = pyramid.positions[static_cast<size_t>(layer)];
    positions.insert(positions.end(), own.begin(), own.end());
  }
  const at::Tensor index = at::tensor(positions, at::kLong).to(latents.device());
  const at::Tensor hidden = at::gelu(vqgan::apply_linear(path.hidden, features), "tanh");
  at::Tensor known;  // (B, J, D)
  if (config.upper_words == "guide") {
    const at::Tensor words = best_words(path, hidden, static_cast<int64_t>(positions.size()));
    known = codes.index_select(0, words.flatten());
  } else {
    known = vqgan::apply_linear(path.heads, hidden);
  }
  return latents.index_copy(1, index, known.reshape({latents.size(0), -1, latents.size(2)}));
}

bool are_rows(const at::Tensor& rows, int64_t num_words) {
  const at::Tensor flat = rows.to(at::kCPU, at::kDouble).contiguous();
  const auto* const row = flat.const_data_ptr<double>();
  std::set<double> seen;
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const bool fits = row[i] >= 0 && row[i] < static_cast<double>(num_words);
    if (!fits || row[i] != std::floor(row[i]) || !seen.insert(row[i]).second) return false;
  }
  return true;
}

}  // namespace lexel::spae
