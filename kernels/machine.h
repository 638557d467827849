#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::kernels {

/// What the CPU has beyond plain vectors, and what this process may use of it; found once.
struct Machine {
  std::string
      vectors;  // instruction set of the Highway code in use, in Highway's words: "AVX3_DL", "AVX2", "NEON"
  bool vnni = false;      // AVX-512 VNNI: int8 dot products
  bool bf16_dot = false;  // AVX-512 BF16: bfloat16 dot products
  bool amx_bf16 = false;  // AMX tiles of bfloat16, allowed to this process by the system
  bool amx_int8 = false;  // AMX tiles of int8, likewise
};

Machine machine();

/// The code that a kernel runs on this CPU.
struct KernelPath {
  std::string kernel;  // "codebook_lookup"
  std::string path;    // "AMX tiles of bfloat16, rescored in float32 (AVX3_DL)"
};

/// One entry for each kernel that has more than one path.
std::vector<KernelPath> kernel_paths();

/// Bytes of memory that this process can still take before the system refuses or starts to swap: what Linux says is available, or
/// what is left of the control group's limit where that is less; the largest int64 where the system does not say.
int64_t available_memory_bytes();

}  // namespace lexel::kernels
