#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace lexel::kernels::cuda {

enum class WeightType { kFloat32, kBFloat16, kInt8 };
enum class Epilogue { kNone, kGelu, kRelu, kGatedGelu, kGatedSilu };
enum class Norm { kNone, kRootMeanSquare, kLayer };

/// Rows of packed weights are padded with zeros to a multiple of so many inputs, so that 16-byte loads fit any type.
constexpr int64_t kInputPadding = 16;

struct LinearDecodeArguments {
  const float* x;       // (B, I)
  const void* weights;  // (O, I padded)
  const float* scales;  // (O, groups); kInt8
  WeightType type;
  int64_t batch, outputs, inputs;
  int64_t groups;  // scales of a row; kInt8
  Norm norm;
  const float *norm_weight, *norm_bias;  // (I)
  float norm_epsilon;
  const float* bias;  // (O), or null
  Epilogue epilogue;
  const float* residual;  // (B, outputs after the epilogue), or null
  float* y;               // the same, written
  int multiprocessors;    // of the device: how many blocks are worth starting
};

/// throws   Error(kInternal) when the launch fails
void launch_linear_decode(const LinearDecodeArguments& arguments, Stream stream);

}  // namespace lexel::kernels::cuda
