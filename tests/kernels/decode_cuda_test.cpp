// The CUDA code of a decode step, emulated on the CPU, against the references: decode_attention, append_ and linear_decode.

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda/glue.h"
#include "kernels/decode_attention.h"
#include "kernels/linear_decode.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/gpu.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::OnEmulatedCuda;
using tests::random_tensor;

constexpr at::ScalarType kCacheTypes[] = {at::kFloat, at::kBFloat16, at::kChar};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

at::Tensor numbers(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

/// A cache filled with random keys and values, by the CPU.
KvCache random_cache(uint64_t seed, int64_t batch, int64_t heads, int64_t capacity, int64_t width,
                     at::ScalarType dtype) {
  KvCache cache = make_kv_cache(batch, heads, capacity, width, dtype, at::kCPU);
  const at::Tensor keys = random_tensor(seed, {capacity, batch, heads, width});
  const at::Tensor values = random_tensor(seed + 1, {capacity, batch, heads, width});
  for (int64_t t = 0; t < capacity; ++t) {
    append_(cache, keys[t], values[t], at::full({batch}, t, at::kLong));
  }
  return cache;
}

/// Scores have float32's error, below 1e-6 of |q| |k| / sqrt(d), a few units here, so weights and result have 1e-5 of the
/// largest value; a result in bfloat16 has half a unit of 8 bits more.
void expect_near(const at::Tensor& got, const at::Tensor& wanted) {
  ASSERT_EQ(got.sizes(), wanted.sizes());
  ASSERT_EQ(got.scalar_type(), wanted.scalar_type());
  const bool is_float = got.scalar_type() == at::kFloat;
  EXPECT_LE(got.to(at::kFloat).sub(wanted.to(at::kFloat)).abs().max().item<double>(),
            1e-5 + (is_float ? 0.0 : 0x1p-7 * wanted.abs().max().item<double>()));
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return at::equal(a.contiguous().view(at::kChar), b.contiguous().view(at::kChar));
}

TEST(DecodeCuda, AttentionEqualsTheReferenceInEveryShape) {
  struct Shape {
    int64_t batch, heads, key_heads, capacity, width;
  };
  // One key; odd sizes; several splits; key heads that 3, 2 and 9 query heads share.
  for (const Shape shape :
       {Shape{1, 1, 1, 1, 8}, Shape{3, 4, 4, 37, 24}, Shape{2, 6, 2, 300, 64},
        Shape{1, 2, 1, 1100, 72}, Shape{2, 3, 3, 129, 128}, Shape{1, 9, 1, 140, 16}}) {
    for (const at::ScalarType cache_type : kCacheTypes) {
      const KvCache cache =
          random_cache(1, shape.batch, shape.key_heads, shape.capacity, shape.width, cache_type);
      const at::Tensor lengths = at::full({shape.batch}, shape.capacity, at::kLong);
      for (int64_t b = 1; b < shape.batch; ++b) lengths[b] = shape.capacity / (b + 1);
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        SCOPED_TRACE(concat(shape.batch, " x ", shape.heads, " x ", shape.capacity, " x ",
                            shape.width, ", cache ", cache_type, ", q ", dtype));
        const at::Tensor q = random_tensor(9, {shape.batch, shape.heads, shape.width}).to(dtype);
        for (const AttentionMask& mask :
             {AttentionMask::full(), AttentionMask::with_prefix(7), AttentionMask::conv(16, 5),
              AttentionMask::conv(32, 11), AttentionMask::conv(31, 31)}) {
          if (dtype != at::kFloat && mask.kind != AttentionMask::Kind::kFull) continue;
          const at::Tensor wanted = decode_attention_reference(q, cache, lengths, mask);
          const OnEmulatedCuda emulated;
          expect_near(decode_attention(q, cache, lengths, mask), wanted);
        }
      }
    }
  }
}

TEST(DecodeCuda, AttentionTakesStridedQueriesAndLengthsOutsideTheCache) {
  const KvCache cache = random_cache(3, 4, 2, 200, 32, at::kBFloat16);
  const at::Tensor q = random_tensor(4, {4, 3, 2, 32}).select(1, 1);
  const at::Tensor inside = numbers({0, 1, 200, 200});
  const at::Tensor wanted = decode_attention_reference(q, cache, inside);
  const OnEmulatedCuda emulated;
  expect_near(cuda::decode_attention(q, cache, numbers({-5, 1, 200, 9999}), {}), wanted);
}

TEST(DecodeCuda, AttentionOfARowIsTheSameInAnyBatchAndOrderOfBlocks) {
  const KvCache cache = random_cache(5, 3, 2, 400, 64, at::kChar);
  const at::Tensor q = random_tensor(6, {3, 4, 64}), lengths = numbers({400, 17, 301});
  at::Tensor all;
  {
    const OnEmulatedCuda emulated;
    all = decode_attention(q, cache, lengths);
  }
  for (int64_t b = 0; b < 3; ++b) {
    const auto one = [&](const at::Tensor& x) { return x.slice(0, b, b + 1); };
    const KvCache row{
        one(cache.keys), one(cache.values), one(cache.key_scales), one(cache.value_scales), {}};
    const OnEmulatedCuda emulated(80, static_cast<uint64_t>(7 + b));
    EXPECT_TRUE(same_bits(decode_attention(one(q), row, one(lengths)), one(all)));
  }
}

TEST(DecodeCuda, AttentionLeavesTheCountersOfACacheAtZero) {
  KvCache cache = random_cache(7, 2, 1, 300, 8, at::kFloat);
  cache.arrivals = at::zeros({2, 1, 8}, at::kInt);
  const at::Tensor q = random_tensor(8, {2, 6, 8}), lengths = numbers({300, 0});
  const at::Tensor wanted = decode_attention_reference(q, cache, lengths);
  const OnEmulatedCuda emulated;
  for (int step = 0; step < 2; ++step) {
    expect_near(decode_attention(q, cache, lengths), wanted);
    EXPECT_EQ(cache.arrivals.sum().item<int64_t>(), 0);
  }
}

TEST(DecodeCuda, AttentionReadsNoKeyPastTheLengthAndLetsNanThrough) {
  KvCache cache = random_cache(9, 1, 1, 150, 8, at::kFloat);
  cache.keys.slice(2, 140).fill_(kNan);
  cache.values.slice(2, 140).fill_(kNan);
  const at::Tensor q = random_tensor(10, {1, 1, 8});
  const at::Tensor wanted = decode_attention_reference(q, cache, numbers({140}));
  const OnEmulatedCuda emulated;
  expect_near(decode_attention(q, cache, numbers({140})), wanted);
  EXPECT_TRUE(decode_attention(q, cache, numbers({141})).isnan().all().item<bool>());
}

TEST(DecodeCuda, AppendWritesTheBitsOfTheCpu) {
  for (const at::ScalarType cache_type : kCacheTypes) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const int64_t width : {8, 72, 128}) {
        SCOPED_TRACE(concat(cache_type, " from ", dtype, ", width ", width));
        at::Tensor k = random_tensor(11, {3, 5, 2, width}).mul_(3).to(dtype).select(1, 2);
        const at::Tensor v = random_tensor(12, {3, 2, width}).to(dtype);
        k[0][1].zero_();
        k[1][0][3] = std::numeric_limits<float>::infinity();
        KvCache wanted = make_kv_cache(3, 2, 6, width, cache_type, at::kCPU);
        KvCache got = make_kv_cache(3, 2, 6, width, cache_type, at::kCPU);
        append_(wanted, k, v, numbers({5, 0, 3}));
        const OnEmulatedCuda emulated;
        cuda::append_to_cache(got, k, v, numbers({5, 0, 3}));
        cuda::append_to_cache(got, v, v, numbers({6, -1, 1000}));  // writes nothing
        EXPECT_TRUE(same_bits(got.keys, wanted.keys));
        EXPECT_TRUE(same_bits(got.values, wanted.values));
        if (cache_type != at::kChar) continue;
        EXPECT_TRUE(at::equal(got.key_scales.nan_to_num(7), wanted.key_scales.nan_to_num(7)));
        EXPECT_TRUE(same_bits(got.value_scales, wanted.value_scales));
      }
    }
  }
}

TEST(DecodeCuda, TheGpuWritesTheBitsOfTheCpuAndReadsThemBack) {
  if (!tests::kHasGpu) GTEST_SKIP() << "this machine has no GPU";
  for (const at::ScalarType cache_type : kCacheTypes) {
    for (const int64_t width : {8, 72, 128}) {
      SCOPED_TRACE(concat(cache_type, ", width ", width));
      KvCache wanted = make_kv_cache(2, 2, 300, width, cache_type, at::kCPU);
      KvCache got = make_kv_cache(2, 2, 300, width, cache_type, at::kCUDA);
      for (int64_t t = 0; t < 300; t += 3) {
        const at::Tensor k = random_tensor(13, {5, 2, 2, width}).mul_(t % 7 + 1).select(0, t % 5);
        const at::Tensor v = random_tensor(14, {2, 2, width}), place = numbers({t, 299 - t});
        append_(wanted, k, v, place);
        append_(got, k.to(at::kCUDA), v.to(at::kCUDA), place.to(at::kCUDA));
        append_(got, v.to(at::kCUDA), v.to(at::kCUDA), numbers({-1, 300}).to(at::kCUDA));
      }
      EXPECT_TRUE(same_bits(got.keys.cpu(), wanted.keys));
      EXPECT_TRUE(same_bits(got.values.cpu(), wanted.values));
      // Heads that 9 query heads share, lengths that are clamped, and the cache's own counters, twice.
      const at::Tensor q = random_tensor(15, {2, 18, width}).mul_(0.01);
      const at::Tensor inside = decode_attention_reference(q, wanted, numbers({300, 0}));
      for (int step = 0; step < 2; ++step) {
        expect_near(decode_attention(q.to(at::kCUDA), got, numbers({9999, -5}).to(at::kCUDA)).cpu(),
                    inside);
        EXPECT_EQ(got.arrivals.sum().item<int64_t>(), 0);
      }
    }
  }
}

struct LinearShape {
  int64_t batch, outputs, inputs;
};

// Sums have float32's error, below 1e-6 of sum |x w|, a few times the largest result; norms and activations as much again.
constexpr double kTolerance = 1e-5;

constexpr WeightFormat kFormats[] = {WeightFormat::kFloat32, WeightFormat::kBFloat16,
                                     WeightFormat::kInt8};

TEST(DecodeCuda, LinearEqualsTheReferenceInEveryShape) {
  for (const auto& [batch, outputs, inputs] :
       {LinearShape{1, 1, 1}, LinearShape{1, 10, 700}, LinearShape{2, 19, 513},
        LinearShape{3, 6, 64}, LinearShape{4, 8, 4100}, LinearShape{5, 33, 96},
        LinearShape{16, 18, 1040}}) {
    const at::Tensor x = random_tensor(21, {batch, inputs});
    const at::Tensor matrix = random_tensor(22, {outputs, inputs});
    for (const WeightFormat format : kFormats) {
      SCOPED_TRACE(
          concat(batch, " x ", outputs, " x ", inputs, ", format ", static_cast<int>(format)));
      const DecodeWeights on_cpu = pack_weights(matrix, format);
      const at::Tensor wanted = linear_decode_reference(x, on_cpu),
                       unpacked = unpack_weights(on_cpu);
      const OnEmulatedCuda emulated;
      const DecodeWeights weights = pack_weights(matrix, format);
      EXPECT_TRUE(at::equal(unpack_weights(weights), unpacked));
      EXPECT_LT(tests::relative_difference(linear_decode(x, weights), wanted), kTolerance);
    }
  }
}

TEST(DecodeCuda, LinearTakesScalesOfGroups) {
  for (const int64_t group : {32, 64, 128}) {
    const at::Tensor x = random_tensor(23, {3, 640}), matrix = random_tensor(24, {11, 640});
    const at::Tensor wanted =
        linear_decode_reference(x, pack_weights(matrix, WeightFormat::kInt8, group));
    const OnEmulatedCuda emulated;
    const DecodeWeights weights = pack_weights(matrix, WeightFormat::kInt8, group);
    EXPECT_LT(tests::relative_difference(linear_decode(x, weights), wanted), kTolerance);
  }
}

TEST(DecodeCuda, LinearFusesNormBiasActivationAndResidual) {
  for (const Activation activation : {Activation::kNone, Activation::kGelu, Activation::kRelu,
                                      Activation::kGatedGelu, Activation::kGatedSilu}) {
    const bool gated = activation == Activation::kGatedGelu || activation == Activation::kGatedSilu;
    for (const auto& [batch, outputs, inputs] :
         {LinearShape{2, 14, 200}, LinearShape{9, 38, 96}, LinearShape{1, 2, 48}}) {
      const at::Tensor x = random_tensor(25, {batch, inputs}).add_(0.5);
      const at::Tensor matrix = random_tensor(26, {outputs, inputs}).mul_(0.1);
      for (const int norm : {0, 1, 2}) {
        SCOPED_TRACE(concat("activation ", static_cast<int>(activation), ", norm ", norm, ", ",
                            batch, " x ", outputs, " x ", inputs));
        LinearDecodeOptions options;
        if (norm > 0) options.norm_weight = random_tensor(27, {inputs});
        if (norm > 1) options.norm_bias = random_tensor(28, {inputs});
        options.bias = random_tensor(29, {outputs});
        options.activation = activation;
        options.residual = random_tensor(30, {batch, gated ? outputs / 2 : outputs});
        const at::Tensor wanted =
            linear_decode_reference(x, pack_weights(matrix, WeightFormat::kBFloat16), options);
        const OnEmulatedCuda emulated;
        const DecodeWeights weights = pack_weights(matrix, WeightFormat::kBFloat16);
        EXPECT_LT(tests::relative_difference(linear_decode(x, weights, options), wanted),
                  kTolerance);
      }
    }
  }
}

TEST(DecodeCuda, LinearOfARowIsTheSameInAnyBatch) {
  const at::Tensor x = random_tensor(31, {16, 1100}), matrix = random_tensor(32, {9, 1100});
  const OnEmulatedCuda emulated;
  LinearDecodeOptions options;
  options.norm_weight = random_tensor(33, {1100});
  for (const WeightFormat format : kFormats) {
    const DecodeWeights weights = pack_weights(matrix, format);
    const at::Tensor all = linear_decode(x, weights, options);
    for (const int64_t batch : {1, 2, 4, 7}) {
      const at::Tensor some = linear_decode(x.slice(0, 5, 5 + batch), weights, options);
      EXPECT_TRUE(same_bits(some, all.slice(0, 5, 5 + batch))) << batch;
    }
  }
}

TEST(DecodeCuda, LinearLetsNanAndInfinityThroughInTheirRowAlone) {
  at::Tensor x = random_tensor(34, {3, 130});
  x[1][129] = kNan;
  const at::Tensor matrix = random_tensor(35, {5, 130});
  const OnEmulatedCuda emulated;
  const at::Tensor y = linear_decode(x, pack_weights(matrix, WeightFormat::kInt8));
  EXPECT_TRUE(y[1].isnan().all().item<bool>());
  EXPECT_FALSE(y[0].isnan().any().item<bool>());
  EXPECT_FALSE(y[2].isnan().any().item<bool>());
}

}  // namespace
}  // namespace lexel::kernels
