#pragma once

#include <ATen/core/Tensor.h>
#include <map>
#include <string>

#include "kernels/parameters.h"

namespace lexel {

/// The parameters of a model as its file holds them (ModelFile::tensors), under their names. They share the model's memory
/// where nothing had to be converted.
///
/// stored   dtype of what has two dimensions or more: kFloat, kBFloat16, kHalf or kChar; the rest is float32. With kChar it lies as
///          "NAME" (int8) and "NAME.scales" (float32, one a row of the first dimension), rounded as kernels::pack_weights does
/// throws   Error(kUsage) another dtype; Error(kBadData) a value that is not finite once stored (named)
std::map<std::string, at::Tensor> store_parameters(const ParameterList& parameters,
                                                   at::ScalarType stored);

/// The inverse: each tensor of the list becomes float32 on `device`, in memory of its own, which is taken when all names, shapes
/// and dtypes agree.
///
/// tensors  of the file, those taken out that are no parameters; floats of any width, or int8 with scales
/// name     stands for the file in messages
/// throws   Error(kBadData) naming the tensor: missing, unexpected, of another shape, no floats, or not finite
void read_parameters(const ParameterList& parameters, std::map<std::string, at::Tensor> tensors,
                     const std::string& name, at::Device device);

}  // namespace lexel
