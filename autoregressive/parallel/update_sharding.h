#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <memory>
#include <vector>

#include "autoregressive/parallel/group.h"
#include "autoregressive/parallel/timeline.h"

namespace lexel::parallel {

/// A part of one of the tensors: values begin .. begin + length of it, flattened.
struct Slice {
  size_t tensor = 0;
  int64_t begin = 0, length = 0;
};

/// Weight-update sharding over the ranks of a group that hold the same weights: gradients are summed by reduce-scatter, each
/// rank updates its slices of the weights, whose moments exist there alone, and the new weights are gathered. The same bytes travel as in
/// an all-reduce of the gradients. Tensors lie in buckets, the last one of the model first; a bucket's gradients are sent as soon as the
/// backward pass has all of them, while it goes on with the others.
///
/// source   Xu et al. 2020, arXiv:2004.13336 (abstract; the buckets are ours)
class UpdateSharding {
 public:
  /// What may be cut.
  enum class Cut {
    kAnywhere,  // elementwise updates: each rank has an equal share of the values, to within a bucket's padding
    kTensorsWhole  // Adafactor, whose factors are of a whole matrix: tensors are dealt out by size
  };

  /// weights  float32 or float64, contiguous, one device, of equal values on all ranks; they stay where they are
  /// group    outlives this object; of one rank: nothing is copied or sent, each slice is a whole tensor
  /// throws   Error(kUsage) on tensors that are not so
  UpdateSharding(const std::vector<at::Tensor>& weights, Group& group, Cut cut,
                 int64_t bucket_bytes = int64_t{8} << 20);
  ~UpdateSharding();
  UpdateSharding(const UpdateSharding&) = delete;
  UpdateSharding& operator=(const UpdateSharding&) = delete;

  /// From now on the buckets' ways out and back are drawn on lane 1.
  void trace_to(std::shared_ptr<Timeline> timeline);

  /// What this rank updates. All ranks' slices together are all values, each once.
  const std::vector<Slice>& slices() const;

  /// The weights of slice i, sharing storage: the tensor itself where the slice is all of it, else (length).
  at::Tensor weights(size_t i) const;

  /// Before the backward passes of a step: no tensor has a gradient.
  void zero_gradients();

  /// Before the last backward pass of a step: its gradients are sent while it runs. Without it reduce() sends them.
  void overlap_next_backward();

  /// After the backward passes: gradients become means over the ranks.
  /// throws   what a collective throws
  void reduce();

  /// After reduce(): the gradient of slice i, of the shape of weights(i); undefined when its tensor had none.
  at::Tensor gradient(size_t i) const;

  /// After the update: all ranks get the new weights of all slices.
  /// throws   what a collective throws
  void share_weights();

 private:
  struct State;
  std::shared_ptr<State> state_;  // hooks of the tensors hold it, too
};

}  // namespace lexel::parallel
