#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace lexel {

/// How a fresh parameter is filled.
struct Init {
  enum class Kind { kZeros, kOnes, kNormal } kind = Kind::kZeros;
  double std = 0.0;  // of kNormal; values are cut off at two standard deviations

  static Init zeros() { return {Kind::kZeros, 0.0}; }
  static Init ones() { return {Kind::kOnes, 0.0}; }
  static Init normal(double std) { return {Kind::kNormal, std}; }
};

/// One tensor of a model: where it lives, what it is called in files, its shape and first value.
struct Parameter {
  std::string name;  // dotted path, e.g. "encoder.blocks.0.attention.qkv.weight"
  std::vector<int64_t> shape;
  Init init;
  at::Tensor* tensor = nullptr;
  std::string group{};  // learning-rate group of the trainer: "" is the common one
  bool decay = true;    // weight decay applies (matrices, not biases, norms, positions, codes)
  bool trained = true;  // false: a fixed table or statistic, saved but never given to an optimizer
};

/// A model is a plain struct of tensors with one function that lists them in order. Everything that
/// touches all of a model's tensors goes through this list.
using ParameterList = std::vector<Parameter>;

/// Fills every tensor: float32, on `device`. A parameter's values depend on `seed` and its name only,
/// never on its place in the list.
void initialise(const ParameterList& parameters, uint64_t seed, at::Device device);

/// Number of scalars in all (or only the trained) tensors.
int64_t parameter_count(const ParameterList& parameters, bool trained_only = false);

/// The tensors by name, detached, sharing storage.
std::map<std::string, at::Tensor> named_tensors(const ParameterList& parameters);

/// Copies `values` into the model (dtype and device are converted).
///
/// throws   Error(kBadData) naming the key: missing, unexpected, of another shape, or not finite
void assign(const ParameterList& parameters, const std::map<std::string, at::Tensor>& values);

/// Marks every trained parameter as requiring a gradient, the others as not.
void require_gradients(const ParameterList& parameters, bool required);

/// Moves every tensor to `device`, keeping its value.
void move_to(const ParameterList& parameters, at::Device device);

}  // namespace lexel
