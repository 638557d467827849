#pragma once

#include <c10/core/Device.h>
#include <string>

namespace lexel {

/// The device of a --device option: "cpu", "cuda" (the first GPU), "cuda:N", or "auto" (the first GPU where one can be
/// used, else the CPU). CUDA code and libtorch_cuda are loaded only when a GPU is asked for, and by "auto" only
/// where a driver is found.
///
/// Call it before the first work with tensors: LibTorch asks once whether it has a CUDA half and keeps the answer.
///
/// throws   Error(kUsage) on another name; Error(kUnsupported) with the reason when the GPU cannot be used;
///          Error(kInternal) when a GPU is there and LibTorch has already decided to go without
at::Device resolve_device(const std::string& name);

/// The file of the CUDA plugin, which is not loaded for it; empty: this build has none.
std::string cuda_plugin_path();

}  // namespace lexel
