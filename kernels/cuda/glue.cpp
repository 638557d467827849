#include "kernels/cuda/glue.h"

namespace lexel::kernels::cuda {

CudaKernels make_table(int (*device_count)()) {
  CudaKernels table{};
  table.version = kCudaKernelsVersion;
  table.device_count = device_count;

  table.codebook_lookup = codebook_lookup;
  table.sample = sample;

  table.attention_forward = attention_forward;
  table.attention_backward = attention_backward;
  table.adamw = adamw;

  return table;
}

}  // namespace lexel::kernels::cuda
