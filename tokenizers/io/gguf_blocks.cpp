#include "tokenizers/io/gguf_blocks.h"

#include <algorithm>
#include <bit>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

namespace lexel {
namespace {

uint16_t u16(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] | bytes[1] << 8); }

float half(const uint8_t* bytes) { return c10::Half(u16(bytes), c10::Half::from_bits()); }

void f32(const uint8_t* block, float* values) {
  *values = std::bit_cast<float>(uint32_t{u16(block)} | uint32_t{u16(block + 2)} << 16);
}

void f16(const uint8_t* block, float* values) { *values = half(block); }

void bf16(const uint8_t* block, float* values) {
  *values = c10::BFloat16(u16(block), c10::BFloat16::from_bits());
}

// Four bits each: the low halves of the 16 bytes are values 0..15, the high halves 16..31.
void four_bits(const uint8_t* bytes, float scale, float offset, float* values) {
  for (int i = 0; i < 16; ++i) {
    values[i] = scale * static_cast<float>(bytes[i] & 15) + offset;
    values[i + 16] = scale * static_cast<float>(bytes[i] >> 4) + offset;
  }
}

void q4_0(const uint8_t* block, float* values) {  // scale, 32 x 4 bits, 8 is zero
  const float scale = half(block);
  four_bits(block + 2, scale, -8 * scale, values);
}

void q4_1(const uint8_t* block, float* values) {  // scale, smallest, 32 x 4 bits
  four_bits(block + 4, half(block), half(block + 2), values);
}

void q8_0(const uint8_t* block, float* values) {  // scale, 32 x int8
  const float scale = half(block);
  for (int i = 0; i < 32; ++i)
    values[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

// 256 x 6 bits in 16 groups of 16 with an int8 scale each: low four bits (128 bytes), high two (64), scales, scale of scales.
// In either half, value 32 k + i has the k-th quarter of high byte i, and half a low byte.
void q6_k(const uint8_t* block, float* values) {
  const float scale = half(block + 208);
  for (int part = 0; part < 2; ++part) {
    const uint8_t *const low = block + 64 * part, *const high = block + 128 + 32 * part;
    const uint8_t* const group = block + 192 + 8 * part;
    for (int k = 0; k < 4; ++k) {
      for (int i = 0; i < 32; ++i) {
        const int nibble = k < 2 ? low[32 * k + i] & 15 : low[32 * (k - 2) + i] >> 4;
        const int number = (nibble | (high[i] >> (2 * k) & 3) << 4) - 32;
        const auto of_group = static_cast<float>(static_cast<int8_t>(group[2 * k + i / 16]));
        values[128 * part + 32 * k + i] = scale * of_group * static_cast<float>(number);
      }
    }
  }
}

constexpr GgufBlocks kBlocks[] = {
    {0, "F32", 1, 4, f32},     {1, "F16", 1, 2, f16},     {2, "Q4_0", 32, 18, q4_0},
    {3, "Q4_1", 32, 20, q4_1}, {8, "Q8_0", 32, 34, q8_0}, {14, "Q6_K", 256, 210, q6_k},
    {30, "BF16", 1, 2, bf16},
};

}  // namespace

const GgufBlocks* find_gguf_blocks(uint32_t type) {
  const auto* const found = std::find_if(std::begin(kBlocks), std::end(kBlocks),
                                         [&](const GgufBlocks& b) { return b.type == type; });
  return found == std::end(kBlocks) ? nullptr : found;
}

}  // namespace lexel
