#pragma once

#include <cstdint>

namespace lexel::bench {

/// Independent float32 multiply-adds in registers, by the widest instruction set of the machine.
/// returns  FLOP done, two a multiply-add
double spin_multiply_adds(int64_t steps);

/// Reads n floats, as fast as one thread can.
void read_floats(const float* data, int64_t n);

}  // namespace lexel::bench
