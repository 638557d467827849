// One query against the cache of its row. A block takes one split of the keys, for up to kQueries of the query heads that
// share a key head. In a warp, `lanes` threads take a key: each 16 bytes of it and of its value, loaded for several keys
// before the first is used. Each such team keeps the largest score, the sum and the weighted values of its keys; teams, warps
// and splits are merged in a fixed order. The block that finishes a row's last split merges its splits: no second kernel.
//
// Scores are in units of log2: q is multiplied by log2(e) / sqrt(d) first.

#include <cmath>
#include <cuda_bf16.h>
#include <type_traits>

#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/launch.h"
#include "kernels/int8_rounding.h"
#include "kernels/key_runs.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kMaxWidth = 128;
constexpr int64_t kSplitKeys = 128;
constexpr int64_t kMaxSplits = 64;
constexpr unsigned kAllLanes = 0xFFFFFFFFU;

using BFloat16 = __nv_bfloat16;

__device__ float as_float(BFloat16 x) { return __bfloat162float(x); }

/// The four int8 of an integer, exactly: a byte below the exponent of 2^23 is a float.
__device__ void unpack_int8(uint32_t packed, float* to) {
  const uint32_t shifted = packed ^ 0x80808080U;  // + 128: 0..255
#pragma unroll
  for (unsigned i = 0; i < 4; ++i) {
    to[i] = __uint_as_float(__byte_perm(shifted, 0x4B000000U, 0x7540U + i)) - 8388736.0F;
  }
}

/// kSize numbers of a vector of the cache, read at once.
template <class T, int kSize>
struct Chunk {
  static constexpr int kWords = kSize * static_cast<int>(sizeof(T)) / 4;
  uint32_t words[kWords];

  __device__ void load(const T* from) {
    if constexpr (kWords == 4) {
      const uint4 all = *reinterpret_cast<const uint4*>(from);
      words[0] = all.x;
      words[1] = all.y;
      words[2] = all.z;
      words[3] = all.w;
    } else {
      const uint2 all = *reinterpret_cast<const uint2*>(from);
      words[0] = all.x;
      words[1] = all.y;
    }
  }
  __device__ void clear() {
#pragma unroll
    for (uint32_t& word : words) word = 0;
  }
  __device__ void unpack(float (&to)[kSize]) const {
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      if constexpr (std::is_same_v<T, float>) {
        to[i] = __uint_as_float(words[i]);
      } else if constexpr (std::is_same_v<T, BFloat16>) {
        to[2 * i] = __uint_as_float(words[i] << 16);
        to[2 * i + 1] = __uint_as_float(words[i] & 0xFFFF0000U);
      } else {
        unpack_int8(words[i], to + 4 * i);
      }
    }
  }
};

/// Softmax so far: weights are 2^(score - largest). Nothing seen: -infinity, 0.
struct Sums {
  float largest, weight;
};

/// What 2^(score - ...) is measured from; finite where nothing, or only -infinity, was seen.
__device__ float reference_score(float largest) { return largest == -INFINITY ? 0.0F : largest; }

/// The place in the cache of the seen key number i of a query at length - 1.
__device__ int64_t key_place(const AttentionMask& mask, int64_t length, int64_t i) {
  if (mask.kind != AttentionMask::Kind::kConv) return i;
  for (int64_t run = 0;; ++run) {
    const KeyRun keys = key_run(mask, length, run);
    if (i < keys.end - keys.begin) return keys.begin + i;
    i -= keys.end - keys.begin;
  }
}

__device__ int64_t seen_keys(const AttentionMask& mask, int64_t length) {
  if (mask.kind != AttentionMask::Kind::kConv) return length;
  int64_t count = 0;
  for (int64_t run = 0; run < num_key_runs(mask); ++run) {
    const KeyRun keys = key_run(mask, length, run);
    count += keys.end - keys.begin;
  }
  return count;
}

template <int kQueries>
struct Merged {
  float values[kWarps][kQueries][kMaxWidth];
  Sums sums[kWarps][kQueries];
  bool last;
};

__device__ void store(const DecodeAttentionArguments& a, int64_t place, float value) {
  if (a.is_bfloat16) {
    static_cast<BFloat16*>(a.out)[place] = __float2bfloat16_rn(value);
  } else {
    static_cast<float*>(a.out)[place] = value;
  }
}

/// T: of the cache. kSize: numbers of a chunk. kQueries: heads at a time. kDepth: keys of a team loaded together.
template <class T, int kSize, int kQueries, int kDepth>
__global__ void __launch_bounds__(kThreads, 2) attend(DecodeAttentionArguments a, KeySplit split) {
  __shared__ Merged<kQueries> merged;
  const int64_t shared_heads = a.heads / a.key_heads;  // that share a key head
  const int64_t groups = (shared_heads + kQueries - 1) / kQueries;
  const int64_t row = blockIdx.z, key_head = blockIdx.y / groups;
  const int64_t first_head = key_head * shared_heads + blockIdx.y % groups * kQueries;
  const auto num_queries =
      static_cast<int>(min(int64_t{kQueries}, (key_head + 1) * shared_heads - first_head));
  const int64_t length = min(max(a.lengths[row], int64_t{0}), a.capacity);
  const int64_t seen = seen_keys(a.mask, length);

  const int width = static_cast<int>(a.width), chunks = width / kSize;
  int lanes = 1;
  while (lanes < chunks) lanes *= 2;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int chunk = lane % lanes, team = lane / lanes, teams = kWarp / lanes;
  const bool busy = chunk < chunks;

  float q[kQueries][kSize], values[kQueries][kSize];
  Sums sums[kQueries];
  const float scale = 1.44269504F * rsqrtf(static_cast<float>(width));
#pragma unroll
  for (int h = 0; h < kQueries; ++h) {
    sums[h] = {-INFINITY, 0.0F};
    const int64_t place = row * a.q_row_stride + (first_head + h) * a.q_head_stride + chunk * kSize;
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      values[h][i] = 0.0F;
      q[h][i] = 0.0F;
      if (!busy || h >= num_queries) continue;
      q[h][i] = scale * (a.is_bfloat16 ? as_float(static_cast<const BFloat16*>(a.q)[place + i])
                                       : static_cast<const float*>(a.q)[place + i]);
    }
  }

  const int64_t vectors = (row * a.key_heads + key_head) * a.capacity;
  const T* const all_keys = static_cast<const T*>(a.keys) + vectors * width + chunk * kSize;
  const T* const all_values = static_cast<const T*>(a.values) + vectors * width + chunk * kSize;
  const int64_t begin = blockIdx.x * split.keys;
  const int64_t end = min(begin + split.keys, seen);
  const int step = kWarps * teams;
  for (int64_t first = begin + warp * teams + team; first - team < end;
       first += int64_t{kDepth} * step) {
    Chunk<T, kSize> key[kDepth], value[kDepth];
    float key_scale[kDepth], value_scale[kDepth];
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      key[k].clear();
      value[k].clear();
      key_scale[k] = value_scale[k] = 1.0F;
      const int64_t number = first + int64_t{k} * step;
      if (number >= end) continue;
      const int64_t place = key_place(a.mask, length, number);
      if (busy) {
        key[k].load(all_keys + place * width);
        value[k].load(all_values + place * width);
      }
      if constexpr (std::is_same_v<T, int8_t>) {
        key_scale[k] = a.key_scales[vectors + place];
        value_scale[k] = a.value_scales[vectors + place];
      }
    }
    float scores[kQueries][kDepth];
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float numbers[kSize];
      key[k].unpack(numbers);
#pragma unroll
      for (int h = 0; h < kQueries; ++h) {
        float score = 0.0F;
#pragma unroll
        for (int i = 0; i < kSize; ++i) score = fmaf(q[h][i], numbers[i], score);
        for (int offset = lanes / 2; offset > 0; offset /= 2) {
          score += __shfl_xor_sync(kAllLanes, score, offset);
        }
        scores[h][k] = first + int64_t{k} * step < end ? score * key_scale[k] : -INFINITY;
      }
    }
#pragma unroll
    for (int h = 0; h < kQueries; ++h) {
      float largest = sums[h].largest;
#pragma unroll
      for (int k = 0; k < kDepth; ++k) largest = fmaxf(largest, scores[h][k]);
      const float reference = reference_score(largest);
      const float factor = exp2f(sums[h].largest - reference);
      sums[h] = {largest, sums[h].weight * factor};
#pragma unroll
      for (int i = 0; i < kSize; ++i) values[h][i] *= factor;
#pragma unroll
      for (int k = 0; k < kDepth; ++k) {
        scores[h][k] = exp2f(scores[h][k] - reference);
        sums[h].weight += scores[h][k];
        scores[h][k] *= value_scale[k];
      }
    }
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float numbers[kSize];
      value[k].unpack(numbers);
#pragma unroll
      for (int h = 0; h < kQueries; ++h) {
#pragma unroll
        for (int i = 0; i < kSize; ++i) values[h][i] = fmaf(scores[h][k], numbers[i], values[h][i]);
      }
    }
  }

  // Teams of a warp.
#pragma unroll
  for (int h = 0; h < kQueries; ++h) {
    for (int offset = lanes; offset < kWarp; offset *= 2) {
      const Sums other{__shfl_xor_sync(kAllLanes, sums[h].largest, offset),
                       __shfl_xor_sync(kAllLanes, sums[h].weight, offset)};
      const float largest = fmaxf(sums[h].largest, other.largest);
      const float reference = reference_score(largest);
      const float mine = exp2f(sums[h].largest - reference), its = exp2f(other.largest - reference);
      sums[h] = {largest, sums[h].weight * mine + other.weight * its};
#pragma unroll
      for (int i = 0; i < kSize; ++i) {
        const float its_value = __shfl_xor_sync(kAllLanes, values[h][i], offset);
        values[h][i] = values[h][i] * mine + its_value * its;
      }
    }
    if (team == 0 && busy) {
#pragma unroll
      for (int i = 0; i < kSize; ++i) merged.values[warp][h][chunk * kSize + i] = values[h][i];
      if (chunk == 0) merged.sums[warp][h] = sums[h];
    }
  }
  __syncthreads();

  // Warps of the block, a thread for a number of the vector. One split: done.
  const int64_t splits = gridDim.x;
  const int record = width + 2;
  for (int place = static_cast<int>(threadIdx.x); place < num_queries * width; place += kThreads) {
    const int h = place / width, d = place % width;
    float largest = -INFINITY, weight = 0.0F, value = 0.0F;
    for (int w = 0; w < kWarps; ++w) largest = fmaxf(largest, merged.sums[w][h].largest);
    const float reference = reference_score(largest);
    for (int w = 0; w < kWarps; ++w) {
      const float factor = exp2f(merged.sums[w][h].largest - reference);
      weight += merged.sums[w][h].weight * factor;
      value += merged.values[w][h][d] * factor;
    }
    const int64_t head = row * a.heads + first_head + h;
    if (splits == 1) {
      store(a, head * width + d, length == 0 ? 0.0F : value / weight);
    } else {
      float* const partial = a.partial + (head * splits + blockIdx.x) * record;
      partial[d] = value;
      if (d == 0) {
        partial[width] = largest;
        partial[width + 1] = weight;
      }
    }
  }
  if (splits == 1) return;

  // Splits of the row, by the block that comes last. atomicInc leaves 0 behind it.
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    uint32_t* const arrivals = a.arrivals + row * gridDim.y + blockIdx.y;
    merged.last = atomicInc(arrivals, static_cast<uint32_t>(splits - 1)) == splits - 1;
  }
  __syncthreads();
  if (!merged.last) return;
  __threadfence();
  for (int place = static_cast<int>(threadIdx.x); place < num_queries * width; place += kThreads) {
    const int h = place / width, d = place % width;
    const int64_t head = row * a.heads + first_head + h;
    const float* const partial = a.partial + head * splits * record;
    float largest = -INFINITY, weight = 0.0F, value = 0.0F;
    for (int64_t s = 0; s < splits; ++s) {
      largest = fmaxf(largest, __ldcg(partial + s * record + width));
    }
    const float reference = reference_score(largest);
    for (int64_t s = 0; s < splits; ++s) {
      const float factor = exp2f(__ldcg(partial + s * record + width) - reference);
      weight += __ldcg(partial + s * record + width + 1) * factor;
      value += __ldcg(partial + s * record + d) * factor;
    }
    store(a, head * width + d, length == 0 ? 0.0F : value / weight);
  }
}

template <class T, int kSize, int kDepth>
void launch_queries(const DecodeAttentionArguments& a, Stream stream) {
  const int64_t shared_heads = a.heads / a.key_heads;
  const KeySplit split = split_keys(a.capacity, a.mask);
  const auto shape = [&](int64_t queries) {
    const int64_t groups = (shared_heads + queries - 1) / queries;
    return LaunchShape{
        dim3(static_cast<unsigned>(split.splits), static_cast<unsigned>(a.key_heads * groups),
             static_cast<unsigned>(a.batch)),
        kThreads};
  };
  if (shared_heads == 1) {
    launch("decode_attention", attend<T, kSize, 1, kDepth>, shape(1), stream, a, split);
  } else {
    constexpr int kFewer = kSize == 16 ? kDepth / 2 : kDepth;  // as many as the registers hold
    launch("decode_attention", attend<T, kSize, kSharingHeads, kFewer>, shape(kSharingHeads),
           stream, a, split);
  }
}

/// One warp writes one vector, a key or a value.
template <class T>
__global__ void __launch_bounds__(kThreads) append(AppendArguments a) {
  constexpr int kPer = kMaxWidth / kWarp;  // numbers of a lane
  const int64_t number = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (number >= 2 * a.batch * a.key_heads) return;
  const bool is_value = number % 2 != 0;
  const int64_t head = number / 2 % a.key_heads, row = number / 2 / a.key_heads;
  const int64_t position = a.positions[row];
  if (position < 0 || position >= a.capacity) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, width = static_cast<int>(a.width);
  const void* const from = is_value ? a.v : a.k;
  const int64_t offset = is_value ? row * a.v_row_stride + head * a.v_head_stride
                                  : row * a.k_row_stride + head * a.k_head_stride;
  float numbers[kPer];
  float largest = 0.0F;
  bool finite = true;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int d = lane + i * kWarp;
    numbers[i] = 0.0F;
    if (d >= width) continue;
    numbers[i] = a.step_is_bfloat16 ? as_float(static_cast<const BFloat16*>(from)[offset + d])
                                    : static_cast<const float*>(from)[offset + d];
    largest = fmaxf(largest, fabsf(numbers[i]));
    finite = finite && isfinite(numbers[i]);
  }
  const int64_t vector = (row * a.key_heads + head) * a.capacity + position;
  T* const to = static_cast<T*>(is_value ? a.values : a.keys) + vector * width;
  float scale = 1.0F;
  if constexpr (std::is_same_v<T, int8_t>) {
    for (int half = kWarp / 2; half > 0; half /= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, half));
    }
    const bool all_finite = __all_sync(kAllLanes, finite) != 0;
    scale = int8_scale(all_finite ? largest : INFINITY);
    if (lane == 0) (is_value ? a.value_scales : a.key_scales)[vector] = scale;
  }
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int d = lane + i * kWarp;
    if (d >= width) continue;
    if constexpr (std::is_same_v<T, int8_t>) {
      to[d] = to_int8(numbers[i], scale);
    } else if constexpr (std::is_same_v<T, BFloat16>) {
      to[d] = __float2bfloat16_rn(numbers[i]);
    } else {
      to[d] = numbers[i];
    }
  }
}

}  // namespace

KeySplit split_keys(int64_t capacity, const AttentionMask& mask) {
  int64_t most = capacity;
  if (mask.kind == AttentionMask::Kind::kConv) {
    const int64_t window = num_key_runs(mask) * mask.kernel;
    most = window < most ? window : most;
  }
  const int64_t share = (most + kMaxSplits - 1) / kMaxSplits;
  const int64_t keys = (share + kSplitKeys - 1) / kSplitKeys * kSplitKeys;
  return {keys, (most + keys - 1) / keys};
}

void launch_decode_attention(const DecodeAttentionArguments& a, Stream stream) {
  if (a.batch == 0) return;
  switch (a.format) {
    case CacheFormat::kFloat32:
      return launch_queries<float, 4, 8>(a, stream);
    case CacheFormat::kBFloat16:
      return launch_queries<BFloat16, 8, 8>(a, stream);
    case CacheFormat::kInt8:
      return a.width % 16 == 0 ? launch_queries<int8_t, 16, 4>(a, stream)
                               : launch_queries<int8_t, 8, 4>(a, stream);
  }
}

void launch_append(const AppendArguments& a, Stream stream) {
  if (a.batch == 0) return;
  const int64_t blocks = (2 * a.batch * a.key_heads + kWarps - 1) / kWarps;
  const LaunchShape shape{static_cast<unsigned>(blocks), kThreads};
  switch (a.format) {
    case CacheFormat::kFloat32:
      return launch("append", append<float>, shape, stream, a);
    case CacheFormat::kBFloat16:
      return launch("append", append<BFloat16>, shape, stream, a);
    case CacheFormat::kInt8:
      return launch("append", append<int8_t>, shape, stream, a);
  }
}

}  // namespace lexel::kernels::cuda
