#pragma once

#include <cstdint>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

extern "C" {

/// A group of NCCL's, one reference of which is the caller's. The plugin exports it; group.cpp looks it up by name.
/// throws   c10::Error where NCCL finds no GPU
c10d::Backend* lexel_nccl_backend(c10d::Store* store, int rank, int size, int64_t timeout_ms);
}

namespace lexel::parallel {
inline constexpr const char* kNcclBackendSymbol = "lexel_nccl_backend";
}  // namespace lexel::parallel
