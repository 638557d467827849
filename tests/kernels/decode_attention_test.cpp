#include "kernels/decode_attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <string>
#include <vector>

#include "kernels/int8_rounding.h"
#include "kernels/key_runs.h"
#include "tests/support/expect_error.h"
#include "tests/support/gpu.h"
#include "tests/support/kernel_paths.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::random_tensor;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16, at::kChar};

at::Tensor numbers(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

KvCache on(const KvCache& cache, at::Device device) {
  KvCache result;
  result.keys = cache.keys.to(device);
  result.values = cache.values.to(device);
  if (cache.key_scales.defined()) {
    result.key_scales = cache.key_scales.to(device);
    result.value_scales = cache.value_scales.to(device);
  }
  return result;
}

/// A cache filled by append_ with random keys and values.
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

/// decode_attention on tensors of the CPU.
using Path = at::Tensor (*)(const at::Tensor& q, const KvCache& cache, const at::Tensor& lengths,
                            const AttentionMask& mask);

at::Tensor on_gpu(const at::Tensor& q, const KvCache& cache, const at::Tensor& lengths,
                  const AttentionMask& mask) {
  return decode_attention(q.to(at::kCUDA), on(cache, at::kCUDA), lengths.to(at::kCUDA), mask).cpu();
}

/// Runs `check` with the reference, the GPU where there is one, and each target that this machine has.
template <class Check>
void on_every_path(Check&& check) {
  {
    SCOPED_TRACE("reference");
    check(decode_attention_reference);
  }
  if (tests::kHasGpu) {
    SCOPED_TRACE("GPU");
    check(on_gpu);
  }
  tests::on_every_target([&] { check(decode_attention); });
}

/// Scores have float32's error, below 1e-6 of |q| |k| / sqrt(d), a few units here, so weights and result have 1e-5 of the
/// largest value; a result in bfloat16 has half a unit of 8 bits more.
void expect_near(const at::Tensor& got, const at::Tensor& wanted) {
  ASSERT_EQ(got.sizes(), wanted.sizes());
  ASSERT_EQ(got.scalar_type(), wanted.scalar_type());
  EXPECT_TRUE(got.is_contiguous());
  const bool is_float = got.scalar_type() == at::kFloat;
  EXPECT_LE(got.to(at::kFloat).sub(wanted.to(at::kFloat)).abs().max().item<double>(),
            1e-5 + (is_float ? 0.0 : 0x1p-7 * wanted.abs().max().item<double>()));
}

TEST(DecodeAttention, HandMade) {
  KvCache cache = make_kv_cache(1, 1, 3, 8, at::kFloat, at::kCPU);
  at::Tensor k = at::zeros({1, 1, 8}), v = at::zeros({1, 1, 8});
  append_(cache, k, v.fill_(1), numbers({0}));
  k[0][0][0] = static_cast<float>(std::sqrt(8.0) * std::log(3.0));
  append_(cache, k, v.fill_(5), numbers({1}));
  append_(cache, k.fill_(kNan), v.fill_(kNan), numbers({2}));  // past the length: never read
  at::Tensor q = at::zeros({1, 1, 8});
  q[0][0][0] = 1;
  on_every_path([&](Path path) {
    // Scores 0 and ln 3: weights 1/4 and 3/4.
    const at::Tensor two = path(q, cache, numbers({2}), {});
    EXPECT_LT(tests::relative_difference(two, at::full({1, 1, 8}, 4.0)), 1e-6) << two;
    EXPECT_TRUE(at::equal(path(q, cache, numbers({1}), {}), at::full({1, 1, 8}, 1.0)));
    EXPECT_TRUE(at::equal(path(q, cache, numbers({0}), {}), at::zeros({1, 1, 8})));
    EXPECT_TRUE(path(q, cache, numbers({3}), {}).isnan().all().item<bool>());
  });
}

TEST(DecodeAttention, KeyRunsAreTheKeysOfTheMask) {
  for (const AttentionMask& mask :
       {AttentionMask::full(), AttentionMask::causal(), AttentionMask::with_prefix(5),
        AttentionMask::conv(8, 1), AttentionMask::conv(8, 5), AttentionMask::conv(5, 5),
        AttentionMask::conv(32, 11)}) {
    for (const int64_t length : {0, 1, 2, 7, 8, 9, 40, 200, 1000}) {
      std::vector<int64_t> wanted, got;
      for (int64_t key = 0; key < length; ++key) {
        if (mask.allows(length - 1, key)) wanted.push_back(key);
      }
      for (int64_t i = 0; i < num_key_runs(mask); ++i) {
        const KeyRun run = key_run(mask, length, i);
        ASSERT_LE(run.begin, run.end);
        for (int64_t key = run.begin; key < run.end; ++key) got.push_back(key);
      }
      EXPECT_EQ(got, wanted) << "kind " << static_cast<int>(mask.kind) << " kernel " << mask.kernel
                             << " length " << length;
    }
  }
}

TEST(DecodeAttention, EqualsTheReferenceInEveryShape) {
  struct Shape {
    int64_t batch, heads, key_heads, capacity, width;
  };
  on_every_path([&](Path path) {
    for (const Shape shape : {Shape{1, 1, 1, 1, 8}, Shape{3, 4, 4, 37, 24}, Shape{2, 6, 2, 300, 64},
                              Shape{1, 2, 1, 1100, 72}, Shape{2, 3, 3, 129, 128}}) {
      for (const at::ScalarType cache_dtype : kDtypes) {
        const KvCache cache =
            random_cache(1, shape.batch, shape.key_heads, shape.capacity, shape.width, cache_dtype);
        const at::Tensor lengths = at::full({shape.batch}, shape.capacity, at::kLong);
        for (int64_t b = 1; b < shape.batch; ++b) lengths[b] = shape.capacity / (b + 1);
        for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
          SCOPED_TRACE(concat(shape.batch, " x ", shape.heads, " x ", shape.capacity, " x ",
                              shape.width, ", cache ", cache_dtype, ", q ", dtype));
          const at::Tensor q = random_tensor(9, {shape.batch, shape.heads, shape.width}).to(dtype);
          for (const AttentionMask& mask :
               {AttentionMask::full(), AttentionMask::causal(), AttentionMask::with_prefix(7),
                AttentionMask::conv(16, 5), AttentionMask::conv(32, 11)}) {
            expect_near(path(q, cache, lengths, mask),
                        decode_attention_reference(q, cache, lengths, mask));
          }
        }
      }
    }
  });
}

TEST(DecodeAttention, RowsOfLengthZeroGiveZeros) {
  on_every_path([&](Path path) {
    for (const at::ScalarType dtype : kDtypes) {
      KvCache cache = make_kv_cache(3, 2, 10, 16, dtype, at::kCPU);
      if (dtype != at::kChar) {
        cache.keys.fill_(kNan);
        cache.values.fill_(kNan);
      } else {
        cache.key_scales.fill_(kNan);
        cache.value_scales.fill_(kNan);
      }
      const at::Tensor q = random_tensor(1, {3, 2, 16});
      for (const AttentionMask& mask : {AttentionMask::full(), AttentionMask::conv(4, 3)}) {
        const at::Tensor out = path(q, cache, numbers({0, 0, 0}), mask);
        EXPECT_TRUE(at::equal(out, at::zeros({3, 2, 16})));
      }
    }
  });
}

TEST(DecodeAttention, RowsDoNotDependOnTheirBatch) {
  on_every_path([&](Path path) {
    for (const at::ScalarType dtype : kDtypes) {
      const KvCache cache = random_cache(1, 3, 2, 700, 64, dtype);
      const at::Tensor q = random_tensor(5, {3, 4, 64});
      const at::Tensor lengths = numbers({700, 3, 511});
      for (const AttentionMask& mask : {AttentionMask::causal(), AttentionMask::conv(24, 11)}) {
        const at::Tensor all = path(q, cache, lengths, mask);
        for (int64_t b = 0; b < 3; ++b) {
          const auto row = [&](const at::Tensor& x) {
            return x.defined() ? x.slice(0, b, b + 1).contiguous() : x;
          };
          KvCache alone;
          alone.keys = row(cache.keys);
          alone.values = row(cache.values);
          alone.key_scales = row(cache.key_scales);
          alone.value_scales = row(cache.value_scales);
          EXPECT_TRUE(at::equal(path(row(q), alone, row(lengths), mask), row(all)));
        }
      }
    }
  });
}

TEST(DecodeAttention, ThreadsDoNotMatter) {
  const at::Tensor q = random_tensor(5, {2, 4, 64});
  const int threads = at::get_num_threads();
  for (const at::ScalarType dtype : kDtypes) {
    const KvCache cache = random_cache(1, 2, 4, 1000, 64, dtype);
    tests::on_every_target([&] {
      at::set_num_threads(1);
      const at::Tensor one = decode_attention(q, cache, numbers({1000, 77}));
      for (const int count : {2, 3}) {
        at::set_num_threads(count);
        EXPECT_TRUE(at::equal(decode_attention(q, cache, numbers({1000, 77})), one));
      }
      at::set_num_threads(threads);
    });
  }
}

TEST(DecodeAttention, NanInASeenKeyGoesThrough) {
  on_every_path([&](Path path) {
    for (const at::ScalarType dtype : kDtypes) {
      KvCache cache = random_cache(1, 1, 2, 50, 16, dtype);
      at::Tensor k = random_tensor(2, {1, 2, 16});
      const at::Tensor q = random_tensor(3, {1, 2, 16}), v = k.clone();
      k[0][1][3] = kNan;
      append_(cache, k, v, numbers({20}));
      const at::Tensor out = path(q, cache, numbers({50}), {});
      EXPECT_FALSE(out[0][0].isnan().any().item<bool>());
      EXPECT_TRUE(out[0][1].isnan().all().item<bool>());
      // The window of 3 over a grid of 10 at position 49 sees 38..40, 48 and 49 only.
      const at::Tensor hidden = path(q, cache, numbers({50}), AttentionMask::conv(10, 3));
      EXPECT_FALSE(hidden.isnan().any().item<bool>());
    }
  });
}

TEST(DecodeAttention, LargeScoresDoNotOverflow) {
  on_every_path([&](Path path) {
    KvCache cache = random_cache(1, 1, 1, 40, 32, at::kFloat);
    const at::Tensor q = random_tensor(3, {1, 1, 32}).mul(1e4);
    expect_near(path(q, cache, numbers({40}), {}),
                decode_attention_reference(q, cache, numbers({40}), {}));
  });
}

TEST(DecodeAttention, StridedQueriesAndSteps) {
  const at::Tensor qkv = random_tensor(1, {2, 3, 4, 16});  // (B, q k v, heads, d)
  KvCache cache = make_kv_cache(2, 4, 5, 16, at::kBFloat16, at::kCPU);
  append_(cache, qkv.select(1, 1), qkv.select(1, 2), numbers({0, 0}));
  EXPECT_TRUE(at::equal(cache.keys.select(2, 0), qkv.select(1, 1).to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(cache.values.select(2, 0), qkv.select(1, 2).to(at::kBFloat16)));
  on_every_path([&](Path path) {
    const at::Tensor out = path(qkv.select(1, 0), cache, numbers({1, 1}), {});
    EXPECT_TRUE(at::equal(out, cache.values.select(2, 0).to(at::kFloat)));
  });
}

TEST(DecodeAttention, AppendRoundsToInt8) {
  KvCache cache = make_kv_cache(1, 1, 2, 8, at::kChar, at::kCPU);
  const at::Tensor k = at::tensor({63.5F, 0.25F, 0.75F, -0.25F, -0.75F, 0.3F, 0.0F, -63.5F});
  const at::Tensor v = at::zeros({1, 1, 8});
  append_(cache, k.view({1, 1, 8}), v, numbers({1}));
  const at::Tensor wanted = at::tensor({127, 0, 2, 0, -2, 1, 0, -127}, at::kChar);
  EXPECT_TRUE(at::equal(cache.keys[0][0][1], wanted));
  EXPECT_EQ(cache.key_scales[0][0][1].item<float>(), 0.5F);
  EXPECT_EQ(cache.value_scales[0][0][1].item<float>(), 0.0F);
  EXPECT_EQ(cache.keys[0][0][0].abs().max().item<int8_t>(), 0);  // the other place stays
  for (const float bad : {kNan, std::numeric_limits<float>::infinity()}) {
    at::Tensor broken = k.clone().view({1, 1, 8});
    broken[0][0][2] = bad;
    append_(cache, broken, v, numbers({0}));
    EXPECT_TRUE(std::isnan(cache.key_scales[0][0][0].item<float>()));
  }
}

TEST(DecodeAttention, Int8RoundingIsNearestEven) {
  static_assert(to_int8(0.25F, 0.5F) == 0);
  static_assert(to_int8(0.75F, 0.5F) == 2);
  static_assert(to_int8(-1.25F, 0.5F) == -2);
  static_assert(to_int8(5.0F, 0.0F) == 0);
  for (int i = -12700; i <= 12700; ++i) {
    const float value = static_cast<float>(i) * 0.01F;
    ASSERT_EQ(to_int8(value, 1.0F), static_cast<int8_t>(std::nearbyint(value))) << value;
  }
  const float tiny = 150 * std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(to_int8(tiny, int8_scale(tiny)), 127);
}

TEST(DecodeAttention, RejectsBadCaches) {
  const auto make = [](int64_t batch, int64_t heads, int64_t capacity, int64_t width,
                       at::ScalarType dtype) {
    return [=] { make_kv_cache(batch, heads, capacity, width, dtype, at::kCPU); };
  };
  expect_error(ErrorKind::kUsage, "got Half", make(1, 1, 1, 8, at::kHalf));
  expect_error(ErrorKind::kUsage, "capacity 0", make(1, 1, 0, 8, at::kFloat));
  expect_error(ErrorKind::kUsage, "8..128, got 12", make(1, 1, 1, 12, at::kFloat));
  expect_error(ErrorKind::kUsage, "8..128, got 136", make(1, 1, 1, 136, at::kFloat));
}

TEST(DecodeAttention, RejectsBadArguments) {
  KvCache cache = make_kv_cache(2, 2, 5, 16, at::kChar, at::kCPU);
  const at::Tensor q = random_tensor(1, {2, 4, 16}), k = random_tensor(1, {2, 2, 16});
  const at::Tensor lengths = numbers({5, 5});
  const auto expect_bad = [&](const std::string& message, const at::Tensor& query,
                              const KvCache& keys, const at::Tensor& sizes,
                              const AttentionMask& mask = {}) {
    expect_error(ErrorKind::kUsage, message, [&] { decode_attention(query, keys, sizes, mask); });
    expect_error(ErrorKind::kUsage, message,
                 [&] { decode_attention_reference(query, keys, sizes, mask); });
  };
  expect_bad("got an undefined tensor", {}, cache, lengths);
  expect_bad("got none", q, {}, lengths);
  expect_bad("got Double", q.to(at::kDouble), cache, lengths);
  expect_bad("got [2, 4, 8]", random_tensor(1, {2, 4, 8}), cache, lengths);
  expect_bad("got [3, 4, 16]", random_tensor(1, {3, 4, 16}), cache, lengths);
  expect_bad("divide, got 3", random_tensor(1, {2, 3, 16}), cache, lengths);
  expect_bad("got strides [64, 1, 4]", random_tensor(1, {2, 16, 4}).transpose(1, 2), cache,
             lengths);
  expect_bad("lengths in 0..5, got 6 in row 1", q, cache, numbers({5, 6}));
  expect_bad("lengths in 0..5, got -1 in row 0", q, cache, numbers({-1, 6}));
  expect_bad("[3] Long", q, cache, numbers({1, 1, 1}));
  expect_bad("[2] Int", q, cache, lengths.to(at::kInt));
  expect_bad("odd conv kernel in 1..255, got 4", q, cache, lengths, AttentionMask::conv(8, 4));
  KvCache broken = cache;
  broken.key_scales.reset();
  expect_bad("scales (B, G, T)", q, broken, lengths);
  broken = cache;
  broken.values = broken.values.to(at::kFloat);
  expect_bad("keys Char and values Float", q, broken, lengths);

  const auto expect_bad_step = [&](const std::string& message, const at::Tensor& key,
                                   const at::Tensor& value, const at::Tensor& positions) {
    expect_error(ErrorKind::kUsage, message, [&] { append_(cache, key, value, positions); });
  };
  expect_bad_step("positions in 0..4, got 5 in row 1", k, k, numbers({0, 5}));
  expect_bad_step("one dtype, got k Float and v BFloat16", k, k.to(at::kBFloat16), numbers({0, 1}));
  expect_bad_step("2 heads as in the cache", q, q, numbers({0, 1}));
  EXPECT_EQ(cache.key_scales.abs().max().item<float>(), 0.0F);  // nothing was written
}

}  // namespace
}  // namespace lexel::kernels
