#pragma once

namespace lexel::kernels::cpu {

// What the CPU has and the system lets this process use; all false where it is no x86-64. Each asks the machine once.

/// Highway's name of the instruction set that HWY_DYNAMIC_DISPATCH takes now.
const char* vector_target_name();

bool has_vnni();      // AVX-512 F, BW, VL and VNNI
bool has_bf16_dot();  // AVX-512 F, BW, VL and BF16
/// AMX tiles with bfloat16 (or int8), and the registers' state granted by Linux (asked for at the first call, for all threads).
bool has_amx_bf16();
bool has_amx_int8();

}  // namespace lexel::kernels::cpu
