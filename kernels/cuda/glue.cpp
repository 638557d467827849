#include "kernels/cuda/glue.h"

namespace lexel::kernels::cuda {

CudaKernels make_table(int (*device_count)()) {
  CudaKernels table{};
  table.version = kCudaKernelsVersion;
  table.device_count = device_count;

  table.codebook_lookup = codebook_lookup;

  return table;
}

}  // namespace lexel::kernels::cuda
