#include "spae/semantic_path.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/tensor.h>
#include <cmath>
#include <vector>

namespace lexel::spae {

void list_semantic_path(SemanticPath& path, const Config& config, const Pyramid& pyramid,
                        ParameterList& list) {
  if (config.feature_width == 0) return;
  const char* const group = "semantic_path";
  const int64_t positions = pyramid.tokens(config.feature_layers);
  const auto std_of = [](int64_t inputs) { return 1.0 / std::sqrt(static_cast<double>(inputs)); };
  vqgan::list_linear("semantic_path.hidden", path.hidden, config.feature_hidden,
                     config.feature_width, true, std_of(config.feature_width), group, list);
  vqgan::list_linear("semantic_path.heads", path.heads, positions * config.code_width,
                     config.feature_hidden, true, std_of(config.feature_hidden), group, list);
}

at::Tensor apply_semantic_path(const SemanticPath& path, const Config& config,
                               const Pyramid& pyramid, const at::Tensor& latents,
                               const at::Tensor& features) {
  std::vector<int64_t> positions;  // (J), in token order
  for (int64_t layer = 0; layer < config.feature_layers; ++layer) {
    const auto& own = pyramid.positions[static_cast<size_t>(layer)];
    positions.insert(positions.end(), own.begin(), own.end());
  }
  const at::Tensor index = at::tensor(positions, at::kLong).to(latents.device());
  const at::Tensor hidden = at::gelu(vqgan::apply_linear(path.hidden, features), "tanh");
  const at::Tensor known = vqgan::apply_linear(path.heads, hidden)
                               .reshape({latents.size(0), -1, latents.size(2)});  // (B, J, D)
  return latents.index_copy(1, index, known);
}

}  // namespace lexel::spae
