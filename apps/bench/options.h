#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace lexel::bench {

/// The kernels that have cases, by the names of their files in kernels/.
inline constexpr std::array<const char*, 10> kKernelNames = {
    "codebook_lookup", "pyramid_lookup", "attention", "decode_attention", "linear_decode",
    "sampling",        "adamw",          "adafactor", "logit_laplace",    "upfirdn"};

/// What `lexel bench kernels` or `lexel bench generator` was asked for.
struct BenchOptions {
  bool generator = false;  // pictures of the shipped generator's shape, in place of kernels
  std::vector<std::string> kernels;  // empty: all
  std::string only;                  // cases whose name holds this; empty: all
  std::string device = "cpu";
  int64_t threads = 0;  // 0: as LibTorch starts
  int64_t rounds = 5;   // each times every contender, in random order
  std::string json;     // file for the numbers; "-": stdout, in place of the table
  bool markdown = false;
  bool list = false;  // only say which cases there are
  bool quiet = false;
};

}  // namespace lexel::bench
