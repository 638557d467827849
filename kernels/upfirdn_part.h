#pragma once

#include <cstdint>

namespace lexel::kernels {

constexpr int64_t kUpfirdnMaxSide = 8;  // of the filter

/// The arguments of upfirdn2d as the CPU and CUDA code take them. Channels-last pictures have `channels` values a pixel;
/// contiguous ones are B C pictures with one.
struct UpfirdnPart {
  int64_t images, channels;
  int64_t height, width, out_height, out_width;
  int64_t up, down;
  int64_t left, top;
  int64_t filter_height, filter_width;
  float filter[kUpfirdnMaxSide * kUpfirdnMaxSide];  // (kh, kw), rows without gaps
};

}  // namespace lexel::kernels
