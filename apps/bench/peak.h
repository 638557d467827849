#pragma once

#include <cstdint>

namespace lexel::bench {

/// Independent float32 multiply-adds in registers, by the widest instruction set of the machine.
/// returns  FLOP done, two a multiply-add
double spin_multiply_adds(int64_t steps);

/// Reads n floats, as fast as one thread can.
void read_floats(const float* data, int64_t n);

/// Adds `change` to each of n floats of a, b and c, likewise.
void update_floats(float* a, float* b, float* c, const float* change, int64_t n);

}  // namespace lexel::bench
