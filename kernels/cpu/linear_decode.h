#pragma once

#include "kernels/linear_decode.h"

namespace lexel::kernels::cpu {

/// From rows, values (O, I) and scales (O, groups), to the layout of linear_decode below, and back.
DecodeWeights lay_out_weights(const DecodeWeights& rows);
DecodeWeights weight_rows(const DecodeWeights& weights);

}  // namespace lexel::kernels::cpu
