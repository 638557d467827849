// Tiles of 8 rows x 48 codes by AVX-512 BF16, which Highway 1.0 does not know: as the float32 tile, with two products an
// instruction.

#include "kernels/cpu/codebook_bfloat.h"
#include "kernels/cpu/machine.h"

#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC diagnostic ignored "-Wuninitialized"  // g++ 12's own _mm512_undefined_ps()
#endif

namespace lexel::kernels::cpu {

#if defined(__x86_64__)
namespace {

constexpr int64_t kTileRows = 8;
constexpr int64_t kVectors = 3;
constexpr int64_t kLanes = 16;
constexpr int64_t kPanelCodes = kVectors * kLanes;

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) uint32_t multiply(
    const uint16_t* rows, int64_t width, const float* panel, const float* threshold,
    float* scores) {
  __m512 sums[kTileRows][kVectors];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) sums[r][v] = _mm512_load_ps(panel + v * kLanes);
  }
  const int64_t num_pairs = width / 2;
  const float* const pairs = reinterpret_cast<const float*>(rows);  // NOLINT: two bfloat16 each
  for (int64_t p = 0; p < num_pairs; ++p) {
    panel += kPanelCodes;
    __m512 codes[kVectors];
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) codes[v] = _mm512_load_ps(panel + v * kLanes);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kTileRows; ++r) {
      const __m512 pair = _mm512_set1_ps(pairs[r * num_pairs + p]);
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v) {
        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], reinterpret_cast<__m512bh>(pair),
                                      reinterpret_cast<__m512bh>(codes[v]));
      }
    }
  }
  __mmask16 any[kTileRows];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kTileRows; ++r) {
    const __m512 top = _mm512_max_ps(_mm512_max_ps(sums[r][0], sums[r][1]), sums[r][2]);
    any[r] = _mm512_cmp_ps_mask(top, _mm512_set1_ps(threshold[r]), _CMP_GE_OQ);
  }
  uint32_t found = 0;
#pragma GCC unroll 8
  for (int64_t r = 0; r < kTileRows; ++r) found |= any[r];
  if (__builtin_expect(found == 0, 1)) return 0;
  found = 0;
#pragma GCC unroll 8
  for (int64_t r = 0; r < kTileRows; ++r) {
    found |= uint32_t{any[r] != 0} << r;
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      _mm512_storeu_ps(scores + r * kPanelCodes + v * kLanes, sums[r][v]);
    }
  }
  return found;
}

void nothing() {}

constexpr BfloatTiles kTiles{
    "bfloat16 dot products", kTileRows, kPanelCodes, 2, nothing, nothing, multiply};

}  // namespace

const BfloatTiles* bfloat_dot_tiles() { return has_bf16_dot() ? &kTiles : nullptr; }
#else
const BfloatTiles* bfloat_dot_tiles() { return nullptr; }
#endif

}  // namespace lexel::kernels::cpu
