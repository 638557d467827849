#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace lexel::kernels::cuda {

/// Arguments of codebook_lookup (C = 1 without a batch), and scratch that every path needs.
struct CodebookLookupArguments {
  const float* rows;     // (C, N, D)
  const float* codes;    // (C, K, D)
  const bool* allowed;   // (C, K), (K) or null
  int64_t allowed_step;  // K, or 0: the same for all codebooks
  int64_t num_books, num_rows, num_codes, width;
  bool l2;
  int64_t top_k;
  float* bias;      // (C, K) scratch
  int64_t* ids;     // (C, N, top_k), written
  float* score;     // (C, N, top_k), written
  int64_t* counts;  // (C, K), zeros, added to; or null
};

/// What is known of all allowed codes of a codebook; floats as their bits, which order like them. Zeros at first.
struct CodeExtent {
  unsigned largest_value;     // max |c_d|
  int substitute;             // kNoCode - id of the lowest code that may be chosen; 0: none may
  unsigned largest_norm;      // max |c|, times code_scale as the next two
  unsigned largest_residual;  // max |c - its float16 copy|
  unsigned largest_bias;      // max |bias|
};

constexpr int kNoCode = 0x7FFFFFFF;

/// How codes lie for the tensor cores: tiles of 256 codes; a tile in chunks of 32 or 64 widths (zeros after D), a chunk in
/// pieces of 8 codes x 8 widths, 128 bytes each, first all widths of 8 codes.
struct CodeTiles {
  static constexpr int kCodes = 256;
  int64_t num_tiles;
  int chunk_width, num_chunks;

  static CodeTiles of(int64_t num_codes, int64_t width) {
    const int chunk = width <= 32 ? 32 : 64;
    return {(num_codes + kCodes - 1) / kCodes, chunk,
            static_cast<int>((width + chunk - 1) / chunk)};
  }
  constexpr int64_t halves() const { return num_tiles * kCodes * chunk_width * num_chunks; }
};

/// Scratch of the tensor core paths.
struct CodebookTensorScratch {
  CodeTiles shape;
  uint16_t* tiles;   // (C, shape.halves()) float16, 16-byte aligned
  float* tile_bias;  // (C, shape.num_tiles * 256): bias of the code in that place, times code_scale
  CodeExtent* extents;  // (C), zeros
  int64_t* hard_rows;   // (C N): rows left to launch_scan
  unsigned* num_hard;   // zero
};

/// The bias of each code; with extents, largest_value and substitute too.
void launch_code_bias(const CodebookLookupArguments& arguments, CodeExtent* extents, Stream stream);

/// float32 throughout; any top_k.
void launch_nearest_codes(const CodebookLookupArguments& arguments, Stream stream);

/// After launch_code_bias: float16 copies of the codes as CodeTiles describes, and the rest of the extents. In places
/// where no code may be chosen lies the substitute.
void launch_pack_codes(const CodebookLookupArguments& arguments,
                       const CodebookTensorScratch& scratch, Stream stream);

/// After launch_pack_codes, top_k = 1: candidates by float16 products, winners by float32. Rows with too many candidates
/// are listed for launch_scan, which comes after. The first needs capability 9.0 and D <= kMaxWidthSm90, the second
/// 8.0 or more and D <= kMaxWidthMma.
constexpr int64_t kMaxWidthSm90 = 512, kMaxWidthMma = 256;
void launch_candidates_sm90(const CodebookLookupArguments& arguments,
                            const CodebookTensorScratch& scratch, int multiprocessors,
                            Stream stream);
void launch_candidates_mma(const CodebookLookupArguments& arguments,
                           const CodebookTensorScratch& scratch, int multiprocessors,
                           Stream stream);

/// Rows to be compared with all codes in float32, many blocks a row; top_k = 1.
struct CodebookScan {
  static constexpr int kRows = 8;  // of a group, which is one block's work at a time

  const int64_t* list;       // numbers among all C N rows; null: all rows
  const unsigned* count;     // how many, on the device; null: all
  unsigned long long* keys;  // (C N) zeros: best so far, by order of the list
  unsigned* done;  // (C N / kRows, rounded up) zeros: parts of the codes that a group has met
};
void launch_scan(const CodebookLookupArguments& arguments, const CodebookScan& scan,
                 int multiprocessors, Stream stream);

}  // namespace lexel::kernels::cuda
