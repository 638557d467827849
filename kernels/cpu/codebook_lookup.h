#pragma once

#include <cstdint>
#include <string>

namespace lexel::kernels::cpu {

struct BfloatTiles;  // kernels/cpu/codebook_bfloat.h

/// One codebook's look-up, on checked, contiguous arrays.
struct LookupProblem {
  const float* rows;   // (N, D)
  int64_t num_rows;    // >= 1
  const float* codes;  // (K, D)
  int64_t num_codes;
  int64_t width;
  bool l2;              // squared distance instead of dot product
  int64_t top_k;        // 1..8
  const bool* allowed;  // (K), or null: all
  int64_t* ids;         // (N, top_k), written
  float* score;         // (N, top_k), written
};

/// codebook_lookup on the CPU; work is shared among ATen's threads, and their number changes no bit of the result.
void codebook_lookup(const LookupProblem& problem);

/// The code that large look-ups run on this machine, in words.
std::string codebook_lookup_path();

/// How the best codes are found. All give the same bits.
enum class LookupPath {
  kFastest,  // by machine and size
  kPanels,   // float32 throughout, codes packed into panels
  kBfloat,   // candidates by `tiles`, rescored in float32, for one code a row; float32 for more
};

/// Tests only: takes this path in all calls from now on; tiles may be null except for kBfloat.
void force_codebook_lookup(LookupPath path, const BfloatTiles* tiles);

}  // namespace lexel::kernels::cpu
