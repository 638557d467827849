#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

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

/// AdamW or Adafactor over the trained tensors of a model, with their moments and averaged weights.
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

  /// Everything that a later run needs to go on, sharing storage: a checkpoint is read by copying into it.
  /// "first/NAME" and "average/NAME"; AdamW: "second/NAME"; Adafactor: "rows/NAME", "columns/NAME" and, in 8 bits,
  /// "scales/NAME".
  std::map<std::string, at::Tensor> state() const;

  /// The averages begin anew from the weights as they are.
  void reset_averages();

  /// Exchanges the model's weights and their averages: call it before an evaluation and again after it.
  void swap_averages();

 private:
  struct Slot {
    std::string name, group;
    bool decay = true;
    at::Tensor weights, average;
    at::Tensor first, second;          // AdamW
    kernels::AdafactorState factored;  // Adafactor
  };
  double gradient_norm() const;  // throws as step()
  /// Slots with a gradient and a rate above 0 are updated; the gradient is multiplied by `scale` first.
  void update_adamw(double rate, const std::map<std::string, double>& factors, double scale);
  void update_adafactor(double rate, const std::map<std::string, double>& factors, double scale);

  std::vector<Slot> slots_;
  OptimizerOptions options_;
  int64_t steps_ = 0;
};

}  // namespace lexel::train
