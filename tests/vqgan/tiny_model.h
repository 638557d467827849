#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <cmath>
#include <vector>

#include "vqgan/model.h"

namespace lexel::tests {

/// 16 x 16 pixels, patch 4: a 4 x 4 grid, 32 codes of width 8, one block of width 16 on each side.
inline vqgan::Config tiny_config() {
  vqgan::Config config;
  config.image_size = 16;
  config.patch_size = 4;
  config.encoder.depth = config.decoder.depth = 1;
  config.encoder.width = config.decoder.width = 16;
  config.encoder.heads = config.decoder.heads = 2;
  config.encoder.head_width = config.decoder.head_width = 8;
  config.encoder.hidden = config.decoder.hidden = 32;
  config.codebook_size = 32;
  config.code_width = 8;
  return config;
}

/// The same with the linear path and both convolution stages, as the model that ships.
inline vqgan::Config tiny_config_with_options() {
  vqgan::Config config = tiny_config();
  config.linear_path = true;
  config.stem_width = 6;
  config.stem_depth = 1;
  config.refine_width = 10;
  config.refine_depth = 1;
  return config;
}

/// Adam (Kingma and Ba 2014, algorithm 1) over the trained parameters, for tests.
class Adam {
 public:
  explicit Adam(const ParameterList& list) {
    for (const Parameter& parameter : list) {
      if (!parameter.trained) continue;
      parameter.tensor->requires_grad_(true);
      slots_.push_back({*parameter.tensor, at::zeros_like(*parameter.tensor),
                        at::zeros_like(*parameter.tensor)});
    }
  }

  /// One step with the gradients of `loss`.
  void step(const at::Tensor& loss, double rate) {
    loss.backward();
    const at::NoGradGuard no_grad;
    ++steps_;
    const double bias1 = 1.0 - std::pow(0.9, steps_), bias2 = 1.0 - std::pow(0.99, steps_);
    for (Slot& slot : slots_) {
      at::Tensor& gradient = slot.parameter.mutable_grad();
      if (!gradient.defined()) continue;
      slot.first.mul_(0.9).add_(gradient, 0.1);
      slot.second.mul_(0.99).addcmul_(gradient, gradient, 0.01);
      slot.parameter.addcdiv_(slot.first, (slot.second / bias2).sqrt().add(1e-8), -rate / bias1);
      gradient.reset();
    }
  }

 private:
  struct Slot {
    at::Tensor parameter, first, second;
  };
  std::vector<Slot> slots_;
  int steps_ = 0;
};

}  // namespace lexel::tests
