#pragma once

// Private to tokenizers/io: the two files that torch.save writes, taken apart.

#include <map>
#include <string>

#include "tokenizers/io/mapped_file.h"
#include "tokenizers/io/pickle.h"

namespace lexel {

/// The pickle of a checkpoint and where the bytes of its storages lie.
struct TorchContainer {
  struct Span {
    const uint8_t* data = nullptr;
    uint64_t bytes = 0;
  };
  MappedFile file;  // keeps the spans alive
  pickle::Document pickle;
  std::map<std::string, Span> storages;  // by the key that the pickle uses
};

/// Takes apart a zip container (PyTorch 1.6 and later) or the format before it.
///
/// throws   Error(kBadData) neither of them, truncated, compressed, overlapping, damaged (CRC-32) or
///          big-endian, and what pickle::parse throws; Error(kUnsupported) a TorchScript archive
TorchContainer open_torch_container(MappedFile file);

}  // namespace lexel
