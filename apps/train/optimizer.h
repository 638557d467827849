#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/parameters.h"

namespace lexel::train {

struct OptimizerOptions {
  double beta1 = 0.9, beta2 = 0.99, epsilon = 1e-8;
  double weight_decay = 0.0;
  double clip_norm = 0.0;  // largest norm of the whole gradient; 0 is off
  double average = 0.0;    // decay of the averaged weights; 0: none are kept
};

/// AdamW over the trained tensors of a model, with their moments and averaged weights.
class Optimizer {
 public:
  Optimizer(const ParameterList& parameters, const OptimizerOptions& options);

  void zero_gradients();

  /// Tensors of groups whose factor is 0 stop requiring a gradient, so that nothing is computed for them;
  /// the others require one. `factors` as in step().
  void select_trained(const std::map<std::string, double>& factors);

  /// One update from the gradients that the tensors hold.
  ///
  /// rate     learning rate of this step
  /// factors  of the rate by Parameter::group; a group that is not named has 1. At 0 its tensors stay as
  ///          they are, weight decay included.
  /// returns  norm of the whole gradient before clipping
  /// throws   Error(kBadData) naming the first tensor whose gradient is not finite; nothing is changed then
  double step(double rate, const std::map<std::string, double>& factors);

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }

  /// Everything that a later run needs to go on: "first/NAME", "second/NAME", "average/NAME", sharing storage:
  /// a checkpoint is read by copying into them.
  std::map<std::string, at::Tensor> state() const;

  /// The averages begin anew from the weights as they are.
  void reset_averages();

  /// Exchanges the model's weights and their averages: call it before an evaluation and again after it.
  void swap_averages();

 private:
  struct Slot {
    std::string name, group;
    bool decay;
    at::Tensor weights, first, second, average;
  };
  double gradient_norm() const;  // throws as step()

  std::vector<Slot> slots_;
  OptimizerOptions options_;
  int64_t steps_ = 0;
};

}  // namespace lexel::train
