#include "kernels/cpu/machine.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/machine.cpp"
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/targets.h>

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {

int64_t Target() { return HWY_TARGET; }

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <cstdint>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lexel::kernels::cpu {

HWY_EXPORT(Target);

const char* vector_target_name() { return hwy::TargetName(HWY_DYNAMIC_DISPATCH(Target)()); }

#if defined(__x86_64__) && defined(__linux__)
namespace {

struct Features {
  bool vnni = false, bf16_dot = false, amx_bf16 = false, amx_int8 = false;
};

constexpr bool has(uint64_t bits, int bit) { return (bits >> bit & 1) != 0; }

/// XCR0: which register states the system saves.
uint64_t saved_states() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

/// Linux gives a process the 8 KiB of tile registers only when it asks; the answer holds for all of its threads.
bool tiles_granted() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

/// Intel Software Developer's Manual, volume 2A, CPUID: leaf 1, leaf 7 sub-leaves 0 and 1.
Features find_features() {
  Features found;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || !has(c, 27)) return found;  // OSXSAVE
  const uint64_t states = saved_states();
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  const uint32_t sub_leaves = a, seven_b = b, seven_c = c, seven_d = d;
  uint32_t one_a = 0;
  if (sub_leaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) one_a = a;
  const bool avx512 = (states & 0xE6) == 0xE6 && has(seven_b, 16) && has(seven_b, 30) &&
                      has(seven_b, 31);  // F, BW, VL
  found.vnni = avx512 && has(seven_c, 11);
  found.bf16_dot = avx512 && has(one_a, 5);
  const bool tiles = avx512 && (states >> 17 & 3) == 3 && has(seven_d, 24) && tiles_granted();
  found.amx_bf16 = tiles && has(seven_d, 22);
  found.amx_int8 = tiles && has(seven_d, 25);
  return found;
}

const Features& features() {
  static const Features found = find_features();
  return found;
}

}  // namespace

bool has_vnni() { return features().vnni; }
bool has_bf16_dot() { return features().bf16_dot; }
bool has_amx_bf16() { return features().amx_bf16; }
bool has_amx_int8() { return features().amx_int8; }
#else
bool has_vnni() { return false; }
bool has_bf16_dot() { return false; }
bool has_amx_bf16() { return false; }
bool has_amx_int8() { return false; }
#endif

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
