#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lexel {

/// The tensors of a PyTorch checkpoint (.pth, .pt, .ckpt, .bin; zip container or the format before PyTorch
/// 1.6), by name: of its "state_dict" where it has one, else of the dict itself. Entries that are no tensors
/// are left out. The file's pickle is read as data: nothing in it is ever imported or called.
///
/// returns  CPU tensors in their own dtype; those that share a storage in the file share it here
/// throws   Error(kIo) cannot be opened; Error(kBadData) not a checkpoint, truncated, damaged, a tensor
///          outside its storage, no tensors at all, or a pickle that calls what can do harm (named);
///          Error(kUnsupported) a TorchScript archive
std::map<std::string, at::Tensor> read_torch_checkpoint(const std::string& path);

/// The same from memory; `name` stands for the path in messages.
std::map<std::string, at::Tensor> read_torch_checkpoint(std::vector<uint8_t> content,
                                                        const std::string& name);

}  // namespace lexel
