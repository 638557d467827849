#include "kernels/machine.h"

#include "kernels/cpu/attention.h"
#include "kernels/cpu/codebook_lookup.h"
#include "kernels/cpu/machine.h"

namespace lexel::kernels {

Machine machine() {
  return {cpu::vector_target_name(), cpu::has_vnni(), cpu::has_bf16_dot(), cpu::has_amx_bf16(),
          cpu::has_amx_int8()};
}

std::vector<KernelPath> kernel_paths() {
  return {
      {"codebook_lookup", cpu::codebook_lookup_path()},
      {"attention", cpu::attention_path()},
  };
}

}  // namespace lexel::kernels
