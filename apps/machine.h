#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/machine.h"

namespace lexel::cli {

/// A data or unified cache of one core, as the system lists it.
struct CpuCache {
  std::string name;   // "L1d", "L2", "L3"
  int64_t bytes = 0;  // of one instance
};

/// The machine as the kernels meet it.
struct MachineReport {
  std::string cpu;           // as the system names it
  int64_t cores = 0;         // that this process may use
  int64_t threads = 0;       // that LibTorch uses
  int64_t memory_bytes = 0;  // of the machine
  std::vector<CpuCache> caches;
  std::vector<std::string>
      features;  // instruction sets of the CPU that matter here: "avx2", "avx512_bf16", "amx_tile"
  kernels::Machine in_use;  // what the kernels make of them
  std::vector<kernels::KernelPath> paths;
  std::string gpu;         // "NVIDIA H100 80GB HBM3", several joined by ", "; empty: no driver
  std::string gpu_driver;  // its version
  std::string plugin;      // file of the CUDA plugin, empty: none
};

/// Asks the system and Highway; loads nothing of CUDA.
MachineReport describe_machine();

}  // namespace lexel::cli
