#pragma once

#include <cstdint>

namespace lexel::kernels::cpu {

/// y = gelu(x); all of `count` bfloat16 or float32 values.
void gelu(const void* x, void* y, int64_t count, bool bfloat16);

/// result = grad gelu'(x), likewise.
void gelu_backward(const void* x, const void* grad, void* result, int64_t count, bool bfloat16);

}  // namespace lexel::kernels::cpu
