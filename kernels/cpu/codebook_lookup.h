#pragma once

#include <cstdint>
#include <string>

namespace lexel::kernels::cpu {

/// codebook_lookup on checked, contiguous float32 arrays; rows are shared among ATen's threads.
///
/// rows      (N, D), N >= 1         codes  (K, D)
/// l2        squared distance instead of dot product
/// ids       (N), written           score  (N), written
void codebook_lookup(const float* rows, int64_t num_rows, const float* codes, int64_t num_codes,
                     int64_t width, bool l2, int64_t* ids, float* score);

/// The code that large look-ups run on this machine, in words.
std::string codebook_lookup_path();

}  // namespace lexel::kernels::cpu
