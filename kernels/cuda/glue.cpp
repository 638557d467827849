#include "kernels/cuda/glue.h"

namespace lexel::kernels::cuda {

CudaKernels make_table(int (*device_count)()) {
  CudaKernels table{};
  table.version = kCudaKernelsVersion;
  table.device_count = device_count;

  table.codebook_lookup = codebook_lookup;
  table.append_to_cache = append_to_cache;
  table.decode_attention = decode_attention;
  table.lay_out_weights = lay_out_weights;
  table.weight_rows = weight_rows;
  table.linear_decode = linear_decode;
  table.sample = sample;

  table.attention_forward = attention_forward;
  table.attention_backward = attention_backward;
  table.adamw = adamw;
  table.adafactor = adafactor;
  table.adafactor_squares = adafactor_squares;
  table.adafactor_factors = adafactor_factors;
  table.adafactor_update = adafactor_update;
  table.logit_laplace = logit_laplace;
  table.upfirdn2d = upfirdn2d;

  return table;
}

}  // namespace lexel::kernels::cuda
