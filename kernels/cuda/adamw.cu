// One AdamW step for many tensors in one launch: 28 bytes of memory traffic a weight, 16 read and 12 written.

#include <cstddef>

#include "kernels/cuda/adamw.h"
#include "kernels/cuda/launch.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunk = kThreads * 4 * 4;  // elements a block: four 16-byte steps a thread
constexpr int kMaxParts = 48;

/// What a launch gets by value; kernels take at most 4 KiB.
struct Batch {
  AdamWPart parts[kMaxParts];
  unsigned first_block[kMaxParts + 1];
  int num_parts;
};
static_assert(sizeof(Batch) <= 4096);

__device__ void update(const AdamWPart& part, float gradient, float& w, float& m, float& v) {
  const float g = gradient * part.gradient_scale;
  m = fmaf(part.one_minus_beta1, g, part.beta1 * m);
  v = fmaf(part.one_minus_beta2 * g, g, part.beta2 * v);
  const float root = fmaf(sqrtf(v), part.correction, part.epsilon);
  w = fmaf(part.keep, w, -(part.rate * m / root));
}

__global__ void __launch_bounds__(kThreads) adamw_kernel(const __grid_constant__ Batch batch) {
  int low = 0, high = batch.num_parts - 1;  // the last part that begins at this block or before
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (batch.first_block[middle] <= blockIdx.x) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const AdamWPart& part = batch.parts[low];
  const int64_t begin = int64_t{blockIdx.x - batch.first_block[low]} * kChunk;
  const int64_t end = begin + kChunk < part.count ? begin + kChunk : part.count;
  const auto address =
      reinterpret_cast<size_t>(part.weights) | reinterpret_cast<size_t>(part.gradient) |
      reinterpret_cast<size_t>(part.first_moment) | reinterpret_cast<size_t>(part.second_moment);
  if (end - begin == kChunk && address % sizeof(float4) == 0) {
    const int64_t first = begin / 4 + threadIdx.x;
    const auto* gradients = reinterpret_cast<const float4*>(part.gradient) + first;
    auto* weights = reinterpret_cast<float4*>(part.weights) + first;
    auto* firsts = reinterpret_cast<float4*>(part.first_moment) + first;
    auto* seconds = reinterpret_cast<float4*>(part.second_moment) + first;
#pragma unroll
    for (int i = 0; i < kChunk / (4 * kThreads); ++i) {
      const float4 g = gradients[i * kThreads];
      float4 w = weights[i * kThreads], m = firsts[i * kThreads], v = seconds[i * kThreads];
      update(part, g.x, w.x, m.x, v.x);
      update(part, g.y, w.y, m.y, v.y);
      update(part, g.z, w.z, m.z, v.z);
      update(part, g.w, w.w, m.w, v.w);
      weights[i * kThreads] = w;
      firsts[i * kThreads] = m;
      seconds[i * kThreads] = v;
    }
    return;
  }
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    float w = part.weights[i], m = part.first_moment[i], v = part.second_moment[i];
    update(part, part.gradient[i], w, m, v);
    part.weights[i] = w;
    part.first_moment[i] = m;
    part.second_moment[i] = v;
  }
}

}  // namespace

void launch_adamw(std::span<const AdamWPart> parts, Stream stream) {
  Batch batch{};
  const auto flush = [&] {
    const unsigned blocks = batch.first_block[batch.num_parts];
    if (blocks > 0) launch("adamw", adamw_kernel, {dim3(blocks), dim3(kThreads)}, stream, batch);
    batch.num_parts = 0;
  };
  for (const AdamWPart& part : parts) {
    if (part.count == 0) continue;
    if (batch.num_parts == kMaxParts) flush();
    const int i = batch.num_parts++;
    batch.parts[i] = part;
    batch.first_block[i + 1] =
        batch.first_block[i] + static_cast<unsigned>((part.count + kChunk - 1) / kChunk);
  }
  flush();
}

}  // namespace lexel::kernels::cuda
