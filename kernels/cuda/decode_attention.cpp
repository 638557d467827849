#include "kernels/cuda/decode_attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {
namespace {

CacheFormat format_of(const KvCache& cache) {
  switch (cache.keys.scalar_type()) {
    case at::kFloat:
      return CacheFormat::kFloat32;
    case at::kBFloat16:
      return CacheFormat::kBFloat16;
    default:
      return CacheFormat::kInt8;
  }
}

float* scales_of(const at::Tensor& scales) {
  return scales.defined() ? scales.mutable_data_ptr<float>() : nullptr;
}

}  // namespace

void append_to_cache(KvCache& cache, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& positions) {
  const OnDevice device(k);
  const at::Tensor& keys = cache.keys;
  launch_append(
      {k.const_data_ptr(), v.const_data_ptr(), k.scalar_type() == at::kBFloat16, k.stride(0),
       k.stride(1), v.stride(0), v.stride(1), positions.const_data_ptr<int64_t>(),
       keys.mutable_data_ptr(), cache.values.mutable_data_ptr(), scales_of(cache.key_scales),
       scales_of(cache.value_scales), format_of(cache), keys.size(0), keys.size(1), keys.size(2),
       keys.size(3)},
      device.stream());
}

at::Tensor decode_attention(const at::Tensor& q, const KvCache& cache, const at::Tensor& lengths,
                            const AttentionMask& mask) {
  const OnDevice device(q);
  const at::Tensor& keys = cache.keys;
  const int64_t batch = q.size(0), heads = q.size(1), width = q.size(2);
  const at::Tensor out = at::empty({batch, heads, width}, q.options());
  const int64_t splits = split_keys(keys.size(2), mask).splits;
  at::Tensor partial, arrivals = cache.arrivals;
  if (splits > 1) {
    partial = at::empty({batch, heads, splits, width + 2}, q.options().dtype(at::kFloat));
    const int64_t count = count_arrivals(batch, heads, keys.size(1));
    if (!arrivals.defined() || arrivals.numel() < count) {
      arrivals = at::zeros({count}, q.options().dtype(at::kInt));
    }
  }
  launch_decode_attention(
      {q.const_data_ptr(), q.scalar_type() == at::kBFloat16, q.stride(0), q.stride(1),
       keys.const_data_ptr(), cache.values.const_data_ptr(), scales_of(cache.key_scales),
       scales_of(cache.value_scales), format_of(cache), lengths.const_data_ptr<int64_t>(), mask,
       batch, heads, keys.size(1), keys.size(2), width,
       partial.defined() ? partial.mutable_data_ptr<float>() : nullptr,
       arrivals.defined() ? static_cast<uint32_t*>(arrivals.mutable_data_ptr()) : nullptr,
       out.mutable_data_ptr()},
      device.stream());
  return out;
}

}  // namespace lexel::kernels::cuda
