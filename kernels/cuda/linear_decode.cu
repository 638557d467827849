// The product of a few rows of x with a weight matrix that is read once: bound by memory. A warp takes kRows outputs at a
// time: a lane reads 16 bytes of each row, several of them ahead, and multiplies with all rows of x, which lie in shared
// memory, normalised, as float32. The lanes' sums are added by shuffles; the lanes then finish the outputs (scale, bias,
// activation, residual). For gated activations the warp's outputs are kRows / 2 gates and their values.
//
// x lies in shared memory as the lanes read it: numbers 4 j .. 4 j + 3 of all lanes' 16 bytes side by side.

#include <cmath>
#include <cuda_bf16.h>
#include <type_traits>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear_decode.h"
#include "kernels/cuda/ptx/shared_memory.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarp * kWarps;
constexpr int kMaxBatch = 16;
constexpr unsigned kAllLanes = 0xFFFFFFFFU;
constexpr int64_t kStep = 512;  // inputs of a tile are a multiple: a warp's step in int8
constexpr int64_t kTileFloats = 16 * 1024;  // of x in shared memory: 64 KiB

using BFloat16 = __nv_bfloat16;

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

/// Inputs that shared memory holds of `batch` rows.
constexpr int64_t tile_inputs(int64_t batch, int64_t inputs) {
  const int64_t most = kTileFloats / batch / kStep * kStep, all = round_up(inputs, kStep);
  return all < most ? all : most;
}

template <class T>
constexpr int kPerLane = 16 / static_cast<int>(sizeof(T));  // numbers in 16 bytes

/// The numbers in 16 bytes of weights.
template <class T>
__device__ void unpack(const uint4& packed, float (&to)[kPerLane<T>]) {
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (std::is_same_v<T, float>) {
      to[i] = __uint_as_float(words[i]);
    } else if constexpr (std::is_same_v<T, BFloat16>) {
      to[2 * i] = __uint_as_float(words[i] << 16);
      to[2 * i + 1] = __uint_as_float(words[i] & 0xFFFF0000U);
    } else {
      const uint32_t shifted = words[i] ^ 0x80808080U;  // + 128, below the exponent of 2^23
#pragma unroll
      for (unsigned j = 0; j < 4; ++j) {
        to[4 * i + j] =
            __uint_as_float(__byte_perm(shifted, 0x4B000000U, 0x7540U + j)) - 8388736.0F;
      }
    }
  }
}

__device__ float warp_sum(float sum) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(kAllLanes, sum, offset);
  }
  return sum;
}

/// Of each row of x: what is subtracted, and then multiplied by.
struct RowNorm {
  float mean[kMaxBatch], factor[kMaxBatch];
};

__device__ void find_norms(const LinearDecodeArguments& a, RowNorm& norms) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto size = static_cast<float>(a.inputs);
  for (int64_t b = threadIdx.x / kWarp; b < a.batch; b += kWarps) {
    const float* const x = a.x + b * a.inputs;
    float mean = 0.0F, squares = 0.0F;
    if (a.norm == Norm::kLayer) {
      float sum = 0.0F;
      for (int64_t i = lane; i < a.inputs; i += kWarp) sum += x[i];
      mean = warp_sum(sum) / size;
    }
    for (int64_t i = lane; i < a.inputs; i += kWarp) {
      squares = fmaf(x[i] - mean, x[i] - mean, squares);
    }
    squares = warp_sum(squares);
    if (lane == 0) {
      norms.mean[b] = mean;
      norms.factor[b] = 1.0F / sqrtf(squares / size + a.norm_epsilon);
    }
  }
}

/// Copies inputs first .. first + tile - 1 of x, normalised, zeros past the end, in the order of the lanes.
template <class T, int kBatch>
__device__ void load_tile(const LinearDecodeArguments& a, const RowNorm& norms, int64_t first,
                          int64_t tile, float* to) {
  constexpr int kNumbers = kPerLane<T>;
  for (int64_t i = threadIdx.x; i < tile; i += kThreads) {
    const int64_t within = i % (kWarp * kNumbers), lane = within / kNumbers,
                  number = within % kNumbers;
    const int64_t place = i - within + (number / 4 * kWarp + lane) * 4 + number % 4;
    const int64_t input = first + i;
    const bool inside = input < a.inputs;
    float weight = 1.0F, bias = 0.0F;
    if (inside && a.norm != Norm::kNone) weight = a.norm_weight[input];
    if (inside && a.norm == Norm::kLayer) bias = a.norm_bias[input];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      float value = 0.0F;
      if (inside && b < a.batch) {
        value = a.x[b * a.inputs + input];
        if (a.norm != Norm::kNone) {
          value = fmaf((value - norms.mean[b]) * norms.factor[b], weight, bias);
        }
      }
      to[b * tile + place] = value;
    }
  }
}

__device__ float gelu(float x) {
  constexpr float kRootOf2OverPi = 0.797884561F;
  return 0.5F * x * (1.0F + tanhf(kRootOf2OverPi * fmaf(0.044715F * x * x, x, x)));
}

__device__ float silu(float x) { return x / (1.0F + expf(-x)); }

/// T: of the weights. kBatch: rows of x, at least a.batch. kRows: outputs of a warp at a time. kDepth: 16 bytes of each row
/// that a lane has on the way.
template <class T, int kBatch, int kRows, int kDepth>
__global__ void __launch_bounds__(kThreads, 2) multiply(LinearDecodeArguments a, int64_t tile) {
  constexpr int kNumbers = kPerLane<T>;
  constexpr int kWarpInputs = kWarp * kNumbers;  // of a warp's step
  __shared__ RowNorm norms;
  float* const shared_x = ptx::dynamic_shared<float>();  // (kBatch, tile)

  const bool gated = a.epilogue == Epilogue::kGatedGelu || a.epilogue == Epilogue::kGatedSilu;
  const int64_t results = gated ? a.outputs / 2 : a.outputs;
  const int64_t per_warp = gated ? kRows / 2 : kRows;
  const int64_t padded = round_up(a.inputs, kInputPadding);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const bool one_tile = tile >= a.inputs;

  if (a.norm != Norm::kNone) find_norms(a, norms);
  __syncthreads();
  if (one_tile) {
    load_tile<T, kBatch>(a, norms, 0, tile, shared_x);
    __syncthreads();
  }
  const int64_t block_results = kWarps * per_warp;
  for (int64_t block_first = blockIdx.x * block_results; block_first < results;
       block_first += int64_t{gridDim.x} * block_results) {
    const int64_t first = block_first + warp * per_warp;
    // Output of row r: first + r; gated, the gates and then the values. Past the end: the last row, not stored.
    const auto output_of = [&](int r) {
      const int64_t within = gated && r >= kRows / 2 ? r - kRows / 2 : r;
      const int64_t result = first + within < results ? first + within : results - 1;
      return gated && r >= kRows / 2 ? results + result : result;
    };
    const T* rows[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      rows[r] = static_cast<const T*>(a.weights) + output_of(r) * padded + lane * kNumbers;
    }
    float sums[kRows][kBatch];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int b = 0; b < kBatch; ++b) sums[r][b] = 0.0F;
    }

    for (int64_t tile_first = 0; tile_first < padded; tile_first += tile) {
      if (!one_tile) {
        __syncthreads();
        load_tile<T, kBatch>(a, norms, tile_first, tile, shared_x);
        __syncthreads();
      }
      const int64_t tile_last = min(tile_first + tile, padded);
      for (int64_t step = tile_first; step < tile_last; step += kDepth * kWarpInputs) {
        uint4 packed[kDepth][kRows];
#pragma unroll
        for (int k = 0; k < kDepth; ++k) {
          const int64_t column = step + k * kWarpInputs;
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            packed[k][r] = make_uint4(0, 0, 0, 0);
            if (column + lane * kNumbers < tile_last) {
              packed[k][r] = *reinterpret_cast<const uint4*>(rows[r] + column);
            }
          }
        }
#pragma unroll
        for (int k = 0; k < kDepth; ++k) {
          const int64_t column = step + k * kWarpInputs;
          if (column >= tile_last) break;
          const bool inside = column + lane * kNumbers < tile_last;
          float weights[kRows][kNumbers], scales[kRows];
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            unpack<T>(packed[k][r], weights[r]);
            scales[r] = 1.0F;
            if constexpr (std::is_same_v<T, int8_t>) {
              if (a.groups > 1 && inside) {
                const int64_t group = (column + lane * kNumbers) / (a.inputs / a.groups);
                scales[r] = a.scales[output_of(r) * a.groups + group];
              }
            }
          }
          const float* const x = shared_x + (column - tile_first) + lane * 4;
#pragma unroll
          for (int b = 0; b < kBatch; ++b) {
            float parts[kRows];
#pragma unroll
            for (int j = 0; j < kNumbers / 4; ++j) {
              const float4 v = *reinterpret_cast<const float4*>(x + b * tile + j * kWarp * 4);
#pragma unroll
              for (int r = 0; r < kRows; ++r) {
                const float* const w = weights[r] + 4 * j;
                parts[r] = j == 0 ? w[0] * v.x : fmaf(w[0], v.x, parts[r]);
                parts[r] = fmaf(w[1], v.y, parts[r]);
                parts[r] = fmaf(w[2], v.z, parts[r]);
                parts[r] = fmaf(w[3], v.w, parts[r]);
              }
            }
#pragma unroll
            for (int r = 0; r < kRows; ++r) sums[r][b] = fmaf(parts[r], scales[r], sums[r][b]);
          }
        }
      }
    }

    // All lanes get all sums; lane number b finishes row b of x.
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int b = 0; b < kBatch; ++b) sums[r][b] = warp_sum(sums[r][b]);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (lane != b || b >= a.batch) continue;
      float values[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int64_t output = output_of(r);
        values[r] = sums[r][b];
        if constexpr (std::is_same_v<T, int8_t>) {
          if (a.groups == 1) values[r] *= a.scales[output];
        }
        if (a.bias != nullptr) values[r] += a.bias[output];
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (r >= per_warp || first + r >= results) continue;
        float value = values[r];
        if (gated) {
          value = values[(r + kRows / 2) % kRows] *
                  (a.epilogue == Epilogue::kGatedGelu ? gelu(value) : silu(value));
        } else if (a.epilogue == Epilogue::kGelu) {
          value = gelu(value);
        } else if (a.epilogue == Epilogue::kRelu) {
          value = value < 0.0F ? 0.0F : value;  // a NaN stays one
        }
        const int64_t place = b * results + first + r;
        if (a.residual != nullptr) value += a.residual[place];
        a.y[place] = value;
      }
    }
  }
}

template <class T, int kBatch, int kRows, int kDepth>
void launch_batch(const LinearDecodeArguments& a, Stream stream) {
  constexpr int64_t kBlocksPerProcessor = 8;
  const bool gated = a.epilogue == Epilogue::kGatedGelu || a.epilogue == Epilogue::kGatedSilu;
  const int64_t results = gated ? a.outputs / 2 : a.outputs;
  const int64_t block_results = kWarps * (gated ? kRows / 2 : kRows);
  const int64_t needed = (results + block_results - 1) / block_results;
  const int64_t most = a.multiprocessors * kBlocksPerProcessor;
  const int64_t tile = tile_inputs(kBatch, a.inputs);
  launch("linear_decode", multiply<T, kBatch, kRows, kDepth>,
         {static_cast<unsigned>(needed < most ? needed : most), kThreads,
          static_cast<std::size_t>(kBatch * tile) * sizeof(float)},
         stream, a, tile);
}

template <class T>
void launch_type(const LinearDecodeArguments& a, Stream stream) {
  if (a.batch == 1) return launch_batch<T, 1, 2, 4>(a, stream);
  if (a.batch == 2) return launch_batch<T, 2, 2, 4>(a, stream);
  if (a.batch <= 4) return launch_batch<T, 4, 2, 4>(a, stream);
  if (a.batch <= 8) return launch_batch<T, 8, 4, 2>(a, stream);
  launch_batch<T, 16, 4, sizeof(T) == 1 ? 1 : 2>(a, stream);  // as many as the registers hold
}

}  // namespace

void launch_linear_decode(const LinearDecodeArguments& a, Stream stream) {
  if (a.batch == 0) return;
  switch (a.type) {
    case WeightType::kFloat32:
      return launch_type<float>(a, stream);
    case WeightType::kBFloat16:
      return launch_type<BFloat16>(a, stream);
    case WeightType::kInt8:
      return launch_type<int8_t>(a, stream);
  }
}

}  // namespace lexel::kernels::cuda
