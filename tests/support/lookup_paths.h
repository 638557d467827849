#pragma once

#include <ATen/core/Tensor.h>
#include <cstring>

#include "kernels/cpu/codebook_lookup.h"

namespace lexel::tests {

/// Forces codebook_lookup on the CPU to a path for the scope.
class OnlyLookupPath {
 public:
  explicit OnlyLookupPath(kernels::cpu::LookupPath path,
                          const kernels::cpu::BfloatTiles* tiles = nullptr) {
    kernels::cpu::force_codebook_lookup(path, tiles);
  }
  ~OnlyLookupPath() {
    kernels::cpu::force_codebook_lookup(kernels::cpu::LookupPath::kFastest, nullptr);
  }
  OnlyLookupPath(const OnlyLookupPath&) = delete;
  OnlyLookupPath& operator=(const OnlyLookupPath&) = delete;
};

/// NaN equals the same NaN, and 0 is not -0.
inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), static_cast<size_t>(a.nbytes())) == 0;
}

}  // namespace lexel::tests
