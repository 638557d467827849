#include "kernels/cpu/linear_decode.h"

namespace lexel::kernels::cpu {
DecodeWeights lay_out_weights(const DecodeWeights& rows) { return rows; }
DecodeWeights weight_rows(const DecodeWeights& weights) { return weights; }
}  // namespace lexel::kernels::cpu
