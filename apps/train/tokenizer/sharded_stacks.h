#pragma once

#include <ATen/core/Tensor.h>
#include <map>
#include <string>

#include "apps/train/state_piece.h"
#include "autoregressive/parallel/annotations.h"
#include "autoregressive/parallel/mesh.h"
#include "vqgan/block_runner.h"
#include "vqgan/model.h"

namespace lexel::train {

/// A tokenizer is trained along the axes "data" and "tensor".
/// throws   Error(kUnsupported) naming another axis that is longer than 1; Error(kUsage) naming heads and hidden units that do
///          not divide among the ranks of "tensor"
void check_tokenizer_mesh(const parallel::MeshShape& mesh, const vqgan::Config& config);

/// A ViT-VQGAN whose blocks lie over the axis "tensor": a rank holds some heads (rows of qkv in each of its three matrices, columns of
/// out) and some hidden units (rows of up, columns of down). All else is whole on every rank, and done alike by all of them: the
/// stream between sublayers is equal on them bit for bit, as what an all-reduce gives is.
///
/// A sublayer's pass sends 4 (n - 1) / n B N D e bytes from each of n ranks, with e bytes of `compute`: an all-reduce of its output, and one of
/// its input's gradient.
///
/// source   Shoeybi et al. 2019, arXiv:1909.08053, section 3
class ShardedStacks : public vqgan::BlockRunner {
 public:
  /// mesh     outlives this object
  /// throws   as check_tokenizer_mesh
  ShardedStacks(const vqgan::Config& config, parallel::Mesh& mesh);

  at::Tensor enter(const at::Tensor& x) const override;
  at::Tensor leave(const vqgan::Linear& layer, const at::Tensor& x) const override;

  /// Cuts `model`, which is whole, down to this rank's part.
  void keep_part(vqgan::Model& model) const;

  /// The whole model, on every rank; all ranks call.
  vqgan::Model whole(const vqgan::Model& model);

  /// The shape of the whole parameter, and where this rank's part lies in it.
  /// throws   std::out_of_range on a name that the model does not have
  const PlaceOfTensor& place_of(const std::string& name) const { return places_.at(name); }
  /// Whether ranks hold parts of it.
  bool is_split(const std::string& name) const { return sharding_.weight(name).split; }

 private:
  parallel::Mesh& mesh_;
  parallel::Group group_;  // axis "tensor"; shares its counts with the mesh's
  parallel::Sharding sharding_;
  std::map<std::string, PlaceOfTensor> places_;
};

}  // namespace lexel::train
