#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// A data or unified cache of one core, as the system lists it.
struct CpuCache {
  std::string name;   // "L1d", "L2", "L3"
  int64_t bytes = 0;  // of one instance
};

/// The machine as the kernels meet it.
struct Machine {
  std::string cpu;           // as the system names it
  int64_t cores = 0;         // that this process may use
  int64_t threads = 0;       // that LibTorch uses
  int64_t memory_bytes = 0;  // of the machine
  std::vector<CpuCache> caches;
  std::vector<std::string> instruction_sets;  // Highway's names, widest first: the machine has and the build holds
  std::string instruction_set;                // the one in use
  bool bf16 = false, vnni = false, amx_bf16 = false, amx_int8 = false;  // CPU instructions
  std::string gpu;         // "NVIDIA H100 80GB HBM3", several joined by ", "; empty: no driver
  std::string gpu_driver;  // its version
};

/// Asks the system and Highway; loads nothing of CUDA.
Machine describe_machine();

}  // namespace lexel::cli
