#include "kernels/decode_attention.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/check.h"
#include "kernels/cpu/decode_attention.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels {
namespace {

constexpr int64_t kMaxWidth = 128;

bool is_cache_dtype(at::ScalarType dtype) {
  return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kChar;
}

bool is_step_dtype(at::ScalarType dtype) { return dtype == at::kFloat || dtype == at::kBFloat16; }

void check_cache(const KvCache& cache, const char* name) {
  check_arg(cache.keys.defined() && cache.values.defined(), name, "expected a cache, got none");
  const at::Tensor &keys = cache.keys, &values = cache.values;
  check_arg(is_cache_dtype(keys.scalar_type()) && values.scalar_type() == keys.scalar_type(), name,
            "expected a float32, bfloat16 or int8 cache, got keys ", keys.scalar_type(),
            " and values ", values.scalar_type());
  check_arg(keys.dim() == 4 && keys.sizes() == values.sizes(), name,
            "expected a cache (B, G, T, d), got keys ", keys.sizes(), " and values ",
            values.sizes());
  check_arg(keys.is_contiguous() && values.is_contiguous(), name,
            "expected a contiguous cache, got strides ", keys.strides(), " and ", values.strides());
  check_arg(keys.size(3) >= 8 && keys.size(3) <= kMaxWidth && keys.size(3) % 8 == 0, name,
            "expected a width that is a multiple of 8 in 8..", kMaxWidth, ", got ", keys.size(3));
  check_arg(keys.device() == values.device(), name, "expected one device, got keys on ",
            keys.device(), " and values on ", values.device());
  if (keys.scalar_type() != at::kChar) return;
  for (const at::Tensor& scales : {cache.key_scales, cache.value_scales}) {
    check_arg(scales.defined() && scales.scalar_type() == at::kFloat &&
                  scales.sizes() == keys.sizes().slice(0, 3) && scales.is_contiguous() &&
                  scales.device() == keys.device(),
              name, "expected float32 scales (B, G, T) beside an int8 cache, got others");
  }
}

/// A vector of one number a row, on the cache's device; on the CPU each in 0..last.
void check_numbers(const at::Tensor& numbers, const KvCache& cache, int64_t last, const char* name,
                   const char* what) {
  check_arg(numbers.defined() && numbers.scalar_type() == at::kLong && numbers.dim() == 1 &&
                numbers.size(0) == cache.keys.size(0) && numbers.is_contiguous() &&
                numbers.device() == cache.keys.device(),
            name, "expected ", what, " (", cache.keys.size(0), ") int64 on ", cache.keys.device(),
            ", got ",
            numbers.defined()
                ? concat(numbers.sizes(), " ", numbers.scalar_type(), " on ", numbers.device())
                : "none");
  if (!numbers.is_cpu()) return;
  const int64_t* const values = numbers.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < numbers.size(0); ++b) {
    check_arg(values[b] >= 0 && values[b] <= last, name, "expected ", what, " in 0..", last,
              ", got ", values[b], " in row ", b);
  }
}

/// A query, key or value of each row and head: (B, heads, d).
void check_step(const at::Tensor& x, const KvCache& cache, const char* name, const char* what) {
  check_arg(x.defined(), name, "expected ", what, ", got an undefined tensor");
  check_arg(is_step_dtype(x.scalar_type()), name, "expected ", what, " float32 or bfloat16, got ",
            x.scalar_type());
  check_arg(x.dim() == 3 && x.size(0) == cache.keys.size(0) && x.size(2) == cache.keys.size(3),
            name, "expected ", what, " (", cache.keys.size(0), ", heads, ", cache.keys.size(3),
            "), got ", x.sizes());
  check_arg(x.device() == cache.keys.device(), name, "expected one device, got ", what, " on ",
            x.device(), " and the cache on ", cache.keys.device());
  check_arg(x.stride(2) == 1, name, "expected a contiguous last dimension of ", what,
            ", got strides ", x.strides());
}

void check_query(const at::Tensor& q, const KvCache& cache, const at::Tensor& lengths,
                 const AttentionMask& mask) {
  const char* const name = "decode_attention";
  check_cache(cache, name);
  check_step(q, cache, name, "q");
  check_arg(q.size(1) >= 1 && q.size(1) % cache.keys.size(1) == 0, name,
            "expected heads of q that the cache's heads, ", cache.keys.size(1), ", divide, got ",
            q.size(1));
  check_numbers(lengths, cache, cache.keys.size(2), name, "lengths");
  validate(mask, name);
}

cpu::CacheFormat format_of(const at::Tensor& cache) {
  switch (cache.scalar_type()) {
    case at::kFloat:
      return cpu::CacheFormat::kFloat32;
    case at::kBFloat16:
      return cpu::CacheFormat::kBFloat16;
    default:
      return cpu::CacheFormat::kInt8;
  }
}

/// One vector of (B, heads, d) as float32.
void copy_vector(const at::Tensor& x, int64_t row, int64_t head, float* target) {
  const int64_t offset = row * x.stride(0) + head * x.stride(1);
  if (x.scalar_type() == at::kFloat) {
    std::copy_n(x.const_data_ptr<float>() + offset, x.size(2), target);
  } else {
    std::copy_n(x.const_data_ptr<at::BFloat16>() + offset, x.size(2), target);
  }
}

void write_step(const at::Tensor& x, const at::Tensor& cache, const at::Tensor& scales,
                const int64_t* positions) {
  const int64_t heads = x.size(1), width = x.size(2);
  std::array<float, kMaxWidth> vector;
  void* const target = cache.mutable_data_ptr();
  float* const target_scales = scales.defined() ? scales.mutable_data_ptr<float>() : nullptr;
  for (int64_t b = 0; b < x.size(0); ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      copy_vector(x, b, h, vector.data());
      cpu::write_vector(vector.data(), width, format_of(cache), target, target_scales,
                        (b * heads + h) * cache.size(2) + positions[b]);
    }
  }
}

/// q / sqrt(d) as float32, contiguous.
void scale_query(const at::Tensor& q, float* target) {
  const int64_t heads = q.size(1), width = q.size(2);
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(width)));
  for (int64_t b = 0; b < q.size(0); ++b) {
    for (int64_t h = 0; h < heads; ++h, target += width) {
      copy_vector(q, b, h, target);
      for (int64_t i = 0; i < width; ++i) target[i] *= scale;
    }
  }
}

/// The first `length` vectors of a row as float64: (G, length, d).
at::Tensor vectors(const at::Tensor& cache, const at::Tensor& scales, int64_t row, int64_t length) {
  const at::Tensor x = cache[row].slice(1, 0, length).to(at::kDouble);
  if (!scales.defined()) return x;
  return x.mul(scales[row].slice(1, 0, length).to(at::kDouble).unsqueeze(2));
}

}  // namespace

KvCache make_kv_cache(int64_t batch, int64_t heads, int64_t capacity, int64_t width,
                      at::ScalarType dtype, at::Device device) {
  const char* const name = "make_kv_cache";
  check_arg(batch >= 1 && heads >= 1 && capacity >= 1, name,
            "expected sizes of at least 1, got batch ", batch, ", heads ", heads, ", capacity ",
            capacity);
  check_arg(width >= 8 && width <= kMaxWidth && width % 8 == 0, name,
            "expected a width that is a multiple of 8 in 8..", kMaxWidth, ", got ", width);
  check_arg(is_cache_dtype(dtype), name, "expected float32, bfloat16 or int8, got ", dtype);
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  KvCache cache;
  cache.keys = at::zeros({batch, heads, capacity, width}, options);
  cache.values = at::zeros({batch, heads, capacity, width}, options);
  if (dtype == at::kChar) {
    cache.key_scales = at::zeros({batch, heads, capacity}, options.dtype(at::kFloat));
    cache.value_scales = at::zeros({batch, heads, capacity}, options.dtype(at::kFloat));
  }
  if (device.is_cuda()) {
    constexpr int64_t kGroups = 8;  // of 4 query heads that share a key head
    cache.arrivals = at::zeros({batch, heads, kGroups}, options.dtype(at::kInt));
  }
  return cache;
}

void append_(KvCache& cache, const at::Tensor& k, const at::Tensor& v,
             const at::Tensor& positions) {
  const char* const name = "append_";
  check_cache(cache, name);
  check_step(k, cache, name, "k");
  check_step(v, cache, name, "v");
  check_arg(k.size(1) == cache.keys.size(1) && v.size(1) == cache.keys.size(1), name, "expected ",
            cache.keys.size(1), " heads as in the cache, got k ", k.sizes(), " and v ", v.sizes());
  check_arg(k.scalar_type() == v.scalar_type(), name, "expected one dtype, got k ", k.scalar_type(),
            " and v ", v.scalar_type());
  check_numbers(positions, cache, cache.keys.size(2) - 1, name, "positions");
  if (const CudaKernels* const cuda = cuda_kernels_for(k)) {
    cuda->append_to_cache(cache, k, v, positions);
    return;
  }
  const int64_t* const places = positions.const_data_ptr<int64_t>();
  write_step(k, cache.keys, cache.key_scales, places);
  write_step(v, cache.values, cache.value_scales, places);
}

at::Tensor decode_attention(const at::Tensor& q, const KvCache& cache, const at::Tensor& lengths,
                            const AttentionMask& mask) {
  check_query(q, cache, lengths, mask);
  const at::NoGradGuard no_grad;
  if (const CudaKernels* const cuda = cuda_kernels_for(q)) {
    return cuda->decode_attention(q, cache, lengths, mask);
  }
  const auto optional = [](const at::Tensor& scales) {
    return scales.defined() ? scales.const_data_ptr<float>() : nullptr;
  };
  const at::Tensor scaled = at::empty(q.sizes(), q.options().dtype(at::kFloat));  // (B, H, d)
  scale_query(q, scaled.mutable_data_ptr<float>());
  const at::Tensor out = at::empty(q.sizes(), scaled.options());
  cpu::decode_attention(
      {scaled.const_data_ptr<float>(), format_of(cache.keys), cache.keys.const_data_ptr(),
       cache.values.const_data_ptr(), optional(cache.key_scales), optional(cache.value_scales),
       lengths.const_data_ptr<int64_t>(), mask, q.size(0), q.size(1), cache.keys.size(1),
       cache.keys.size(2), q.size(2), out.mutable_data_ptr<float>()});
  return out.to(q.scalar_type());
}

at::Tensor decode_attention_reference(const at::Tensor& q, const KvCache& cache,
                                      const at::Tensor& lengths, const AttentionMask& mask) {
  check_query(q, cache, lengths, mask);
  const at::NoGradGuard no_grad;
  const int64_t heads = q.size(1), width = q.size(2), groups = cache.keys.size(1);
  const at::Tensor numbers = lengths.cpu();
  at::Tensor result = at::zeros({q.size(0), heads, width}, q.options());
  for (int64_t b = 0; b < q.size(0); ++b) {
    const int64_t length =
        std::clamp<int64_t>(numbers.const_data_ptr<int64_t>()[b], 0, cache.keys.size(2));
    if (length == 0) continue;
    at::Tensor hidden = at::empty({length}, at::kBool);  // (length), false where the key is seen
    for (int64_t key = 0; key < length; ++key) {
      hidden.mutable_data_ptr<bool>()[key] = !mask.allows(length - 1, key);
    }
    const at::Tensor x = q[b].to(at::kDouble).reshape({groups, heads / groups, width});
    const at::Tensor scores =  // (G, H / G, length)
        at::matmul(x, vectors(cache.keys, cache.key_scales, b, length).transpose(1, 2))
            .div(std::sqrt(static_cast<double>(width)))
            .masked_fill(hidden.to(q.device()), -INFINITY);
    const at::Tensor seen = vectors(cache.values, cache.value_scales, b, length)
                                .masked_fill(hidden.to(q.device()).unsqueeze(1), 0.0);
    result[b].copy_(at::matmul(at::softmax(scores, -1), seen).view({heads, width}));
  }
  return result;
}

}  // namespace lexel::kernels
