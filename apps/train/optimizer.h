#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/train/cut_adafactor.h"
#include "apps/train/state_piece.h"
#include "autoregressive/parallel/group.h"
#include "autoregressive/parallel/update_sharding.h"
#include "kernels/adafactor.h"
#include "kernels/parameters.h"

namespace lexel::train {

enum class Method { kAdamW, kAdafactor, kAdafactorInt8 };  // the last: first moment in 8 bits

struct OptimizerOptions {
  double beta1 = 0.9, beta2 = 0.99;
  double epsilon = 1e-8;  // AdamW: beside the root; Adafactor: beside the squared gradient, 1e-30
  double weight_decay = 0.0;
  double clip_norm = 0.0;  // largest norm of the whole gradient; 0 is off
  double average = 0.0;    // decay of the averaged weights; 0: none are kept
  Method method = Method::kAdamW;
};

/// How the norm of the gradient is taken over ranks.
struct NormSum {
  /// Adds up the ranks' parts of the squared norm. Where it is not finite, each rank looks for a tensor whose own gradient, before it
  /// was added to the others', is the cause: its name, or "".
  /// throws   Error(kBadData) on every rank, naming rank and tensor, when the sum is not finite
  std::function<double(double squared, const std::function<std::string()>& own_culprit)> over_ranks;
};

/// Where the tensors of a model lie that several ranks hold in parts.
struct TensorPlaces {
  /// Of one tensor; none, or a null function: it is whole here, and counts.
  std::function<std::optional<PlaceOfTensor>(const std::string& name)> place;
  /// The ranks along an axis of the mesh; they outlive the optimizer.
  std::function<parallel::Group&(const std::string& axis)> along;
};

/// AdamW or Adafactor over the trained tensors of a model, with their moments and averaged weights. Ranks that hold the same weights
/// each update a part of them (parallel::UpdateSharding), and have moments and averages of that part alone. Of tensors that are cut over
/// other ranks Adafactor adds up what it needs of the whole.
class Optimizer {
 public:
  Optimizer(const ParameterList& parameters, const OptimizerOptions& options);
  /// data     the ranks that hold the same weights; outlives this object
  /// throws   Error(kUnsupported) naming the tensor: an 8-bit first moment whose scales a cut would part
  Optimizer(const ParameterList& parameters, const OptimizerOptions& options, parallel::Group& data,
            NormSum norm, TensorPlaces places = {});

  void zero_gradients();
  /// Before the last backward pass of a step: gradients travel while it runs.
  void overlap_next_backward() { sharding_->overlap_next_backward(); }

  /// Tensors of groups whose factor is 0 stop requiring a gradient, so that nothing is computed for them;
  /// the others require one. `factors` as in step().
  void select_trained(const std::map<std::string, double>& factors);

  /// One update from the gradients that the tensors hold, the mean over the ranks that hold the same weights. All ranks call it.
  ///
  /// rate     learning rate of this step
  /// factors  of the rate by Parameter::group; a group that is not named has 1. At 0 its tensors stay as
  ///          they are, weight decay included.
  /// returns  norm of the whole gradient before clipping
  /// throws   Error(kBadData) naming the first tensor whose gradient is not finite; nothing is changed then
  double step(double rate, const std::map<std::string, double>& factors);

  /// See parallel::UpdateSharding.
  void trace_to(std::shared_ptr<parallel::Timeline> timeline) {
    sharding_->trace_to(std::move(timeline));
  }

  /// After this rank's slices were changed from outside (a checkpoint): all ranks get the others'.
  void share_weights() { sharding_->share_weights(); }

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }

  /// This rank's part of everything that a later run needs to go on, sharing storage: a checkpoint is read by copying into it. "weights/NAME",
  /// "first/NAME" and "average/NAME"; AdamW: "second/NAME"; Adafactor: "rows/NAME", "columns/NAME" and, in 8 bits,
  /// "scales/NAME".
  /// Each says where it lies in the whole.
  std::vector<StatePiece> state() const;

  /// The averages begin anew from the weights as they are.
  void reset_averages();

  /// Exchanges the model's weights and their averages, on all ranks: call it before an evaluation and again after it.
  void swap_averages();

 private:
  struct Slot {
    std::string name, group;
    bool decay = true;
    PlaceOfTensor place;               // of the tensor
    int64_t begin = 0;                 // of the slice, flattened
    at::Tensor weights, average;       // the slice; weights share storage with the model
    at::Tensor first, second;          // AdamW
    kernels::AdafactorState factored;  // Adafactor
    FactorPlaces factors;
  };
  void make_slots(const ParameterList& parameters, parallel::Group& data);
  PlaceOfTensor place_of(const Parameter& parameter) const;
  std::string own_culprit() const;  // name of a tensor whose gradient is not finite, or ""
  double gradient_norm() const;     // throws as step()
  /// Slots with a gradient and a rate above 0 are updated; the gradient is multiplied by `scale` first.
  void update_adamw(double rate, const std::map<std::string, double>& factors, double scale);
  void update_adafactor(double rate, const std::map<std::string, double>& factors, double scale);

  OptimizerOptions options_;
  parallel::Group alone_;
  NormSum norm_;
  TensorPlaces places_;
  ParameterList trained_;
  std::unique_ptr<parallel::UpdateSharding> sharding_;
  std::vector<Slot> slots_;                         // by slice of the sharding
  std::map<std::string, std::vector<size_t>> cut_;  // by axis: Adafactor's slots that it cuts
  int64_t steps_ = 0;
};

}  // namespace lexel::train
