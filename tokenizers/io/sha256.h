#pragma once

#include <ATen/core/Tensor.h>
#include <cstddef>
#include <string>

namespace lexel {

/// SHA-256 of bytes as 64 hex digits. source  FIPS 180-4
std::string sha256(const void* data, size_t bytes);

/// The name of a codebook: SHA-256 over "lexel-codebook K D" and a newline, then its codes as the decoder
/// sees them, float32 little-endian. The same on every machine: lengths are summed in float64 in order.
///
/// codebook   (K, D) floating point, finite, any device
/// normalize  codes are used divided by max(length, 1e-12)
/// throws     Error(kUsage) on another rank or dtype
std::string codebook_fingerprint(const at::Tensor& codebook, bool normalize);

}  // namespace lexel
