#include "autoregressive/layer_runner.h"

#include <ATen/ops/embedding.h>

#include "autoregressive/dropout.h"
#include "autoregressive/softmax_loss.h"

namespace lexel::ar {

at::Tensor LayerRunner::embedding(const at::Tensor& table, const std::string&,
                                  const at::Tensor& ids) const {
  return at::embedding(table, ids);
}

at::Tensor LayerRunner::enter(const at::Tensor& x, const std::string&) const { return x; }

at::Tensor LayerRunner::leave(const at::Tensor& x, const std::string&, int64_t) const { return x; }

at::Tensor LayerRunner::whole(const at::Tensor& x, const std::string&, int64_t) const { return x; }

at::Tensor LayerRunner::norm(const LayerNorm& layer, const std::string&, const at::Tensor& x,
                             at::ScalarType compute) const {
  return apply_norm(layer, x, compute);
}

at::Tensor LayerRunner::linear(const Linear& layer, const std::string&, const at::Tensor& x,
                               int64_t) const {
  return apply_linear(layer, x);
}

at::Tensor LayerRunner::join(const at::Tensor& heads, const std::string&) const { return heads; }

at::Tensor LayerRunner::dropout(const at::Tensor& x, const std::string& site, int64_t,
                                const ForwardOptions& options) const {
  return ar::dropout(x, options.dropout, options.seed, site, options.step,
                     {.first_row = options.first_row});
}

at::Tensor LayerRunner::logits(const Linear& softmax, const at::Tensor& x, int64_t) const {
  return apply_linear(softmax, x.flatten(0, 1));
}

at::Tensor LayerRunner::softmax_loss(const Linear& softmax, const at::Tensor& x, int64_t,
                                     const at::Tensor& targets) const {
  return ar::softmax_loss(softmax, x.flatten(0, 1), targets);
}

at::Tensor LayerRunner::log_likelihoods(const Linear& softmax, const at::Tensor& x, int64_t,
                                        const at::Tensor& targets) const {
  return ar::log_likelihoods(softmax, x.flatten(0, 1), targets);
}

const LayerRunner& runner_of(const ForwardOptions& options) {
  static const LayerRunner one_device;
  return options.runner == nullptr ? one_device : *options.runner;
}

}  // namespace lexel::ar
