#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>

#include "autoregressive/layer_runner.h"
#include "autoregressive/parallel/annotations.h"
#include "autoregressive/parallel/group.h"
#include "autoregressive/parallel/mesh.h"

namespace lexel::parallel {

/// Computes a rank's part of the layers, with the collectives that the placements ask for (layer_collectives.h lists them).
/// Gradients of weights that are whole come out equal on all ranks of the axis; those of split ones are this rank's part.
///
/// Where a stream's tokens are split, N is rounded up to a multiple of the ranks; what is past the end is never read.
/// Dropout's masks are those of one device.
///
/// source   Shoeybi et al. 2019, arXiv:1909.08053, section 3; Korthikanti et al. 2022, arXiv:2205.05198, section 4.2;
///          Yu et al. 2022 (Parti), arXiv:2206.10789, section 3; Xu et al. 2021 (GSPMD), arXiv:2105.04663, section 5.1
class ShardedRunner : public ar::LayerRunner {
 public:
  /// Keeps `sharding` and talks to the mesh's groups by copies that share their counts.
  ShardedRunner(Sharding sharding, Mesh& mesh);

  at::Tensor embedding(const at::Tensor& table, const std::string& name,
                       const at::Tensor& ids) const override;
  at::Tensor enter(const at::Tensor& x, const std::string& stack) const override;
  at::Tensor leave(const at::Tensor& x, const std::string& stack, int64_t tokens) const override;
  at::Tensor whole(const at::Tensor& x, const std::string& stack, int64_t tokens) const override;
  at::Tensor norm(const ar::LayerNorm& layer, const std::string& name, const at::Tensor& x,
                  at::ScalarType compute) const override;
  at::Tensor linear(const ar::Linear& layer, const std::string& name, const at::Tensor& x,
                    int64_t tokens) const override;
  at::Tensor join(const at::Tensor& heads, const std::string& name) const override;
  at::Tensor dropout(const at::Tensor& x, const std::string& site, int64_t tokens,
                     const ar::ForwardOptions& options) const override;
  at::Tensor logits(const ar::Linear& softmax, const at::Tensor& x, int64_t tokens) const override;
  at::Tensor softmax_loss(const ar::Linear& softmax, const at::Tensor& x, int64_t tokens,
                          const at::Tensor& targets) const override;
  at::Tensor log_likelihoods(const ar::Linear& softmax, const at::Tensor& x, int64_t tokens,
                             const at::Tensor& targets) const override;

  const Sharding& sharding() const { return sharding_; }

 private:
  bool has_parts(const std::string& name) const;  // of the tokens of the stream that `name` lies on
  bool is_split(const std::string& layer) const;  // whether its weight is
  at::Tensor own_tokens(const at::Tensor& x) const;
  /// From a stack's stream to the whole that a layer reads.
  at::Tensor read(const at::Tensor& x, const std::string& name, int64_t tokens,
                  bool is_layer_split) const;

  Sharding sharding_;
  Group group_;  // axis "tensor"
};

}  // namespace lexel::parallel
