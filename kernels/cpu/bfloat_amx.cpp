// Tiles of 32 rows x 32 codes by Intel's AMX.
// source   Intel Architecture Instruction Set Extensions, chapter "Intel AMX": LDTILECFG, TDPBF16PS

#include "kernels/cpu/bfloat_amx.h"

#include "kernels/cpu/codebook_bfloat.h"
#include "kernels/cpu/machine.h"

#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC diagnostic ignored "-Wuninitialized"  // g++ 12's own _mm512_undefined_ps()
#endif

namespace lexel::kernels::cpu {

#if defined(__x86_64__)
namespace {

/// What LDTILECFG reads: palette 1, and for each tile its bytes of a line and its lines.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t line_bytes[16] = {};
  uint8_t lines[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

/// The instructions by name: the compiler's intrinsics take the register as a token, which a template cannot give.
struct AmxInstructions {
  template <int kTile>
  static void load(const void* base, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(base), "r"(stride), "i"(kTile)
                     : "memory");
  }
  template <int kTo, int kRows, int kCodes>
  static void multiply() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                     :
                     : "i"(kTo), "i"(kRows), "i"(kCodes));
  }
  template <int kTile>
  static void store(void* base, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)"
                     :
                     : "r"(base), "r"(stride), "i"(kTile)
                     : "memory");
  }
};

void configure() {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.line_bytes[tile] = 64;
    config.lines[tile] = 16;
  }
  __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

void release() { __asm__ volatile("tilerelease" : :); }

__attribute__((target("avx512f,avx512bw,avx512vl"))) uint32_t multiply(const uint16_t* rows,
                                                                       int64_t width,
                                                                       const float* panel,
                                                                       const float* threshold,
                                                                       float* scores) {
  constexpr int64_t kGroup = 8;  // rows looked at together: most groups hold nothing
  multiply_by_tiles<AmxInstructions>(rows, width, panel, scores);
  uint32_t found = 0;
  for (int64_t first = 0; first < kAmxRows; first += kGroup) {
    __mmask16 any[kGroup];
    uint32_t all = 0;
#pragma GCC unroll 8
    for (int64_t r = 0; r < kGroup; ++r) {
      const float* const line = scores + (first + r) * kAmxCodes;
      const __m512 top = _mm512_max_ps(_mm512_loadu_ps(line), _mm512_loadu_ps(line + 16));
      any[r] = _mm512_cmp_ps_mask(top, _mm512_set1_ps(threshold[first + r]), _CMP_GE_OQ);
      all |= any[r];
    }
    if (__builtin_expect(all == 0, 1)) continue;
#pragma GCC unroll 8
    for (int64_t r = 0; r < kGroup; ++r) found |= uint32_t{any[r] != 0} << (first + r);
  }
  return found;
}

constexpr BfloatTiles kTiles{
    "AMX tiles of bfloat16", kAmxRows, kAmxCodes, kAmxWidth, configure, release, multiply};

}  // namespace

const BfloatTiles* amx_tiles() { return has_amx_bf16() ? &kTiles : nullptr; }
#else
const BfloatTiles* amx_tiles() { return nullptr; }
#endif

}  // namespace lexel::kernels::cpu
