#include "kernels/linear_decode.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/gpu.h"
#include "tests/support/kernel_paths.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::random_tensor;

struct Format {
  WeightFormat format;
  int64_t group;
};
constexpr Format kFormats[] = {{WeightFormat::kFloat32, 0}, {WeightFormat::kBFloat16, 0},
                               {WeightFormat::kInt8, 0},    {WeightFormat::kInt8, 32},
                               {WeightFormat::kInt8, 64},   {WeightFormat::kInt8, 128}};

std::string name_of(const Format& format) {
  const char* const names[] = {"float32", "bfloat16", "int8"};
  return concat(names[static_cast<int>(format.format)], " group ", format.group);
}

at::Tensor floats(const std::vector<float>& values, at::IntArrayRef shape) {
  return at::tensor(values, at::kFloat).view(shape);
}

LinearDecodeOptions on(const LinearDecodeOptions& options, at::Device device) {
  const auto move = [&](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.to(device) : tensor;
  };
  LinearDecodeOptions result = options;
  result.norm_weight = move(options.norm_weight);
  result.norm_bias = move(options.norm_bias);
  result.bias = move(options.bias);
  result.residual = move(options.residual);
  return result;
}

/// x times the packed weight, all tensors of the CPU.
using Path = at::Tensor (*)(const at::Tensor& x, const at::Tensor& weight, Format format,
                            const LinearDecodeOptions& options);

at::Tensor reference(const at::Tensor& x, const at::Tensor& weight, Format format,
                     const LinearDecodeOptions& options) {
  return linear_decode_reference(x, pack_weights(weight, format.format, format.group), options);
}

at::Tensor on_cpu(const at::Tensor& x, const at::Tensor& weight, Format format,
                  const LinearDecodeOptions& options) {
  return linear_decode(x, pack_weights(weight, format.format, format.group), options);
}

at::Tensor on_gpu(const at::Tensor& x, const at::Tensor& weight, Format format,
                  const LinearDecodeOptions& options) {
  return linear_decode(x.to(at::kCUDA),
                       pack_weights(weight.to(at::kCUDA), format.format, format.group),
                       on(options, at::kCUDA))
      .cpu();
}

/// Runs `check` with the reference, the GPU where there is one, and each target that this machine has.
template <class Check>
void on_every_path(Check&& check) {
  {
    SCOPED_TRACE("reference");
    check(reference);
  }
  if (tests::kHasGpu) {
    SCOPED_TRACE("GPU");
    check(on_gpu);
  }
  tests::on_every_target([&] { check(on_cpu); });
}

TEST(LinearDecode, HandMade) {
  const at::Tensor x = floats({1, 2, -1, 3, 0, 0.5F}, {2, 3});
  // Rows 0 and 1 are exact in each format: 127 steps of the largest.
  const at::Tensor weight = floats({127, 1, 0, 0, -64, 127, 0, 0, 0}, {3, 3});
  LinearDecodeOptions options;
  options.bias = floats({0.5F, 1, 2}, {3});
  options.residual = floats({1, 1, 1, 2, 2, 2}, {2, 3});
  on_every_path([&](Path path) {
    for (const WeightFormat format :
         {WeightFormat::kFloat32, WeightFormat::kBFloat16, WeightFormat::kInt8}) {
      const at::Tensor plain = path(x, weight, {format, 0}, {});
      EXPECT_TRUE(at::equal(plain, floats({129, -255, 0, 381, 63.5F, 0}, {2, 3}))) << plain;
      const at::Tensor y = path(x, weight, {format, 0}, options);
      EXPECT_TRUE(at::equal(y, floats({130.5F, -253, 3, 383.5F, 66.5F, 4}, {2, 3}))) << y;
      EXPECT_EQ(y.scalar_type(), at::kFloat);
    }
  });
}

TEST(LinearDecode, Int8RoundsToNearestEven) {
  // Scale 0.5: 0.25 and 0.75 lie between two steps, and go to 0 and 2 steps.
  const at::Tensor weight = floats({63.5F, 0.25F, 0.75F, -0.25F, -0.75F, 0.3F}, {1, 6});
  const at::Tensor wanted = floats({63.5F, 0, 1, 0, -1, 0.5F}, {1, 6});
  EXPECT_TRUE(at::equal(unpack_weights(pack_weights(weight, WeightFormat::kInt8)), wanted));
  if (tests::kHasGpu) {
    const at::Tensor on_device = weight.to(at::kCUDA);
    EXPECT_TRUE(
        at::equal(unpack_weights(pack_weights(on_device, WeightFormat::kInt8)).cpu(), wanted));
  }
}

TEST(LinearDecode, EachGroupHasItsScale) {
  at::Tensor weight = at::zeros({2, 64});
  weight[0].slice(0, 0, 32).fill_(1000);
  weight[0].slice(0, 32).fill_(0.001);  // lost with one scale for the row
  weight[1].slice(0, 0, 32).fill_(-1);
  const at::Tensor grouped = unpack_weights(pack_weights(weight, WeightFormat::kInt8, 32));
  EXPECT_LT(tests::relative_difference(grouped[0].slice(0, 32), weight[0].slice(0, 32)), 1e-6);
  const at::Tensor plain = unpack_weights(pack_weights(weight, WeightFormat::kInt8));
  EXPECT_EQ(plain[0].slice(0, 32).abs().max().item<float>(), 0.0F);
  EXPECT_EQ(plain[1].slice(0, 32).abs().max().item<float>(), 0.0F);
}

TEST(LinearDecode, UnpackGivesTheRoundedNumbers) {
  for (const Format format : kFormats) {
    for (const int64_t outputs : {1, 5, 130}) {
      for (const int64_t inputs : {1, 7, 384}) {
        if (format.group != 0 && inputs % format.group != 0) continue;
        SCOPED_TRACE(concat(name_of(format), " ", outputs, " x ", inputs));
        const at::Tensor weight = random_tensor(3, {outputs, inputs});
        const at::Tensor got = unpack_weights(pack_weights(weight, format.format, format.group));
        ASSERT_EQ(got.sizes(), weight.sizes());
        // Half a unit of bfloat16's 7 bits; half a step of 1 / 127 of the largest, and float32's own error.
        const double limit = format.format == WeightFormat::kFloat32    ? 0.0
                             : format.format == WeightFormat::kBFloat16 ? 0x1p-8
                                                                        : 0.5 / 127 + 1e-6;
        EXPECT_LE(tests::relative_difference(got, weight), limit);
        const at::Tensor again = unpack_weights(pack_weights(got, format.format, format.group));
        EXPECT_LE(tests::relative_difference(again, got), 2e-7);
      }
    }
  }
}

/// The largest error that float32 may make beside the reference: blocks of 128 inputs are summed one after the other,
/// |error| <= (128 + I / 128 + 8) 2^-24 sum |x| |w|; a norm adds 2e-6 of each x; then through the activation, whose
/// slope is below 1.13.
double error_limit(const at::Tensor& x, const at::Tensor& weight, Format format,
                   const LinearDecodeOptions& options) {
  const DecodeWeights packed = pack_weights(weight, format.format, format.group);
  LinearDecodeOptions sizes = options;
  sizes.activation = Activation::kNone;
  sizes.bias.reset();
  sizes.residual.reset();
  const auto inputs = static_cast<double>(weight.size(1));
  const bool has_norm = options.norm_weight.defined();
  at::Tensor input = x;
  if (has_norm) {  // by the identity matrix
    const at::Tensor identity = at::zeros({weight.size(1), weight.size(1)});
    identity.diagonal().fill_(1);
    input = linear_decode_reference(x, pack_weights(identity, WeightFormat::kFloat32), sizes);
  }
  const double sum = at::matmul(input.abs(), unpack_weights(packed).abs().t()).max().item<double>();
  const double bias = options.bias.defined() ? options.bias.abs().max().item<double>() : 0.0;
  const double error =
      ((136 + inputs / 128) * 0x1p-24 + (has_norm ? 2e-6 : 0.0)) * sum + 0x1p-23 * bias;
  const bool gated =
      options.activation == Activation::kGatedGelu || options.activation == Activation::kGatedSilu;
  const double slope = 1.13 * (gated ? 2 * (sum + bias) : 1.0);
  const double residual =
      options.residual.defined() ? options.residual.abs().max().item<double>() : 0.0;
  const double value = (gated ? sum + bias : 1.0) * (sum + bias);
  return slope * error + 8 * 0x1p-24 * (value + residual) + 1e-30;
}

/// Every path against the reference.
void expect_near(const at::Tensor& x, const at::Tensor& weight, Format format,
                 const LinearDecodeOptions& options) {
  const at::Tensor wanted = reference(x, weight, format, options);
  const double limit = wanted.numel() == 0 ? 0.0 : error_limit(x, weight, format, options);
  on_every_path([&](Path path) {
    const at::Tensor got = path(x, weight, format, options);
    ASSERT_EQ(got.sizes(), wanted.sizes());
    EXPECT_TRUE(got.is_contiguous());
    if (got.numel() == 0) return;
    EXPECT_LE(got.sub(wanted).abs().max().item<double>(), limit);
  });
}

TEST(LinearDecode, EqualsTheReferenceInEveryShape) {
  for (const Format format : kFormats) {
    for (const int64_t batch : {0, 1, 2, 3, 16}) {
      for (const int64_t outputs : {1, 5, 130}) {
        for (const int64_t inputs : {1, 7, 33, 384, 1000}) {
          if (format.group != 0 && inputs % format.group != 0) continue;
          SCOPED_TRACE(concat(name_of(format), " ", batch, " x ", outputs, " x ", inputs));
          const auto seed = static_cast<uint64_t>(batch * 1000 + outputs);
          expect_near(random_tensor(seed, {batch, inputs}),
                      random_tensor(seed + 1, {outputs, inputs}), format, {});
        }
      }
    }
  }
}

TEST(LinearDecode, EveryPrologueAndEpilogue) {
  constexpr int64_t kInputs = 192, kOutputs = 134;
  const at::Tensor weight = random_tensor(1, {kOutputs, kInputs});
  for (const int64_t batch : {1, 2, 5}) {
    const at::Tensor x = random_tensor(2, {batch, kInputs}).mul(3).add(0.5);
    for (const Activation activation : {Activation::kNone, Activation::kGelu, Activation::kRelu,
                                        Activation::kGatedGelu, Activation::kGatedSilu}) {
      for (int parts = 0; parts < 16; ++parts) {
        if ((parts & 2) != 0 && (parts & 1) == 0) continue;  // a norm bias without a norm weight
        const bool gated = activation >= Activation::kGatedGelu;
        LinearDecodeOptions options;
        options.activation = activation;
        if ((parts & 1) != 0) options.norm_weight = random_tensor(3, {kInputs});
        if ((parts & 2) != 0) options.norm_bias = random_tensor(4, {kInputs});
        if ((parts & 4) != 0) options.bias = random_tensor(5, {kOutputs});
        if ((parts & 8) != 0) {
          options.residual = random_tensor(6, {batch, gated ? kOutputs / 2 : kOutputs});
        }
        const Format format = kFormats[parts % 4];
        SCOPED_TRACE(concat(name_of(format), " batch ", batch, " activation ",
                            static_cast<int>(activation), " parts ", parts));
        expect_near(x, weight, format, options);
      }
    }
  }
}

TEST(LinearDecode, NormOfHandMadeRows) {
  const at::Tensor x = floats({3, 4, 0, 0, 1, 1, 1, 1}, {2, 4});
  const at::Tensor identity = floats({1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}, {4, 4});
  LinearDecodeOptions options;
  options.norm_weight = floats({1, 1, 2, 2}, {4});
  options.norm_epsilon = 0.0;
  on_every_path([&](Path path) {
    const at::Tensor y = path(x, identity, {WeightFormat::kFloat32, 0}, options);
    // Root mean square of the first row: 2.5.
    EXPECT_LT(tests::relative_difference(y, floats({1.2F, 1.6F, 0, 0, 1, 1, 2, 2}, {2, 4})), 1e-6);
  });
}

TEST(LinearDecode, RowsDoNotDependOnTheirBatch) {
  LinearDecodeOptions options;
  options.norm_weight = random_tensor(3, {256});
  options.norm_bias = random_tensor(4, {256});
  options.bias = random_tensor(5, {194});
  options.activation = Activation::kGatedGelu;
  on_every_path([&](Path path) {
    for (const Format format : kFormats) {
      SCOPED_TRACE(name_of(format));
      const at::Tensor weight = random_tensor(1, {194, 256});
      const at::Tensor x = random_tensor(2, {16, 256});
      const at::Tensor all = path(x, weight, format, options);
      for (int64_t size : {1, 2, 3, 4, 5, 7, 9, 15}) {
        const at::Tensor some = path(x.slice(0, 1, 1 + size).contiguous(), weight, format, options);
        EXPECT_TRUE(at::equal(some, all.slice(0, 1, 1 + size))) << "batch " << size;
      }
    }
  });
}

TEST(LinearDecode, ThreadsDoNotMatter) {
  const at::Tensor weight = random_tensor(1, {500, 384});
  const at::Tensor x = random_tensor(2, {3, 384});
  const int threads = at::get_num_threads();
  tests::on_every_target([&] {
    for (const Format format : kFormats) {
      at::set_num_threads(1);
      const at::Tensor one = on_cpu(x, weight, format, {});
      for (const int count : {2, 3}) {
        at::set_num_threads(count);
        EXPECT_TRUE(at::equal(on_cpu(x, weight, format, {}), one));
      }
      at::set_num_threads(threads);
    }
  });
}

TEST(LinearDecode, NanGoesThroughItsOwnRowOnly) {
  const at::Tensor weight = random_tensor(1, {40, 64});
  at::Tensor x = random_tensor(2, {3, 64});
  x[1][5] = std::numeric_limits<float>::quiet_NaN();
  LinearDecodeOptions options;
  options.norm_weight = at::full({64}, 1.0);
  options.activation = Activation::kGelu;
  on_every_path([&](Path path) {
    for (const Format format : kFormats) {
      if (format.group == 128) continue;
      const at::Tensor y = path(x, weight, format, options);
      EXPECT_TRUE(y[1].isnan().all().item<bool>());
      EXPECT_FALSE(y[0].isnan().any().item<bool>());
      EXPECT_FALSE(y[2].isnan().any().item<bool>());
    }
  });
}

TEST(LinearDecode, InputsAreNotModified) {
  const at::Tensor x = random_tensor(1, {2, 64}), weight = random_tensor(2, {64, 64});
  const at::Tensor x_before = x.clone(), weight_before = weight.clone();
  LinearDecodeOptions options;
  options.norm_weight = at::full({64}, 2.0);
  options.residual = x;
  for (const Format format : kFormats) {
    if (format.group == 128) continue;
    on_cpu(x, weight, format, options);
    unpack_weights(pack_weights(weight, format.format, format.group)).fill_(0);
  }
  EXPECT_TRUE(at::equal(x, x_before));
  EXPECT_TRUE(at::equal(weight, weight_before));
}

TEST(LinearDecode, RejectsBadWeights) {
  const auto expect_bad = [](const std::string& message, const at::Tensor& weight,
                             WeightFormat format = WeightFormat::kInt8, int64_t group = 0) {
    expect_error(ErrorKind::kUsage, message, [&] { pack_weights(weight, format, group); });
  };
  const at::Tensor good = random_tensor(1, {4, 96});
  expect_bad("undefined", {});
  expect_bad("got Double", good.to(at::kDouble));
  expect_bad("(O, I), got [96]", good[0]);
  expect_bad("got [0, 96]", good.slice(0, 0, 0));
  expect_bad("strides [1, 96]", good.t());
  expect_bad("got 16", good, WeightFormat::kInt8, 16);
  expect_bad("divides the inputs, 96, got 64", good, WeightFormat::kInt8, 64);
  expect_bad("not int8, got 32", good, WeightFormat::kBFloat16, 32);
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    at::Tensor bad = good.clone();
    bad[3][95] = value;
    for (const Format format : kFormats) {
      if (format.group > 32) continue;
      expect_bad("finite", bad, format.format, format.group);
    }
  }
  expect_bad("finite", at::full({1, 1}, 3.4e38), WeightFormat::kBFloat16);  // rounds to infinity
}

TEST(LinearDecode, RejectsBadArguments) {
  const DecodeWeights weights = pack_weights(random_tensor(1, {6, 8}), WeightFormat::kFloat32);
  const at::Tensor x = random_tensor(2, {2, 8});
  const auto expect_bad = [&](const std::string& message, const at::Tensor& input,
                              const LinearDecodeOptions& options = {}) {
    expect_error(ErrorKind::kUsage, message, [&] { linear_decode(input, weights, options); });
    expect_error(ErrorKind::kUsage, message,
                 [&] { linear_decode_reference(input, weights, options); });
  };
  expect_bad("undefined", {});
  expect_bad("got Half", x.to(at::kHalf));
  expect_bad("(B, 8), got [8]", x[0]);
  expect_bad("(B, 8), got [2, 7]", random_tensor(2, {2, 7}));
  expect_bad("at most 16 rows, got 17", random_tensor(2, {17, 8}));
  expect_bad("strides [1, 2]", random_tensor(2, {8, 2}).t());
  LinearDecodeOptions options;
  options.norm_bias = at::zeros({8});
  expect_bad("norm weight with the norm bias", x, options);
  options = {};
  options.norm_weight = at::zeros({7});
  expect_bad("norm weight of size (8), got [7]", x, options);
  options = {};
  options.norm_epsilon = -1.0;
  expect_bad("epsilon >= 0, got -1", x, options);
  options = {};
  options.bias = at::zeros({6}, at::kDouble);
  expect_bad("float32 bias", x, options);
  options = {};
  options.residual = at::zeros({2, 5});
  expect_bad("residual (2, 6), got [2, 5]", x, options);
  options.activation = Activation::kGatedSilu;
  expect_bad("residual (2, 3), got [2, 5]", x, options);
  const DecodeWeights odd = pack_weights(random_tensor(1, {5, 8}), WeightFormat::kFloat32);
  options = {};
  options.activation = Activation::kGatedGelu;
  expect_error(ErrorKind::kUsage, "even number of outputs for a gated activation, got 5",
               [&] { linear_decode(x, odd, options); });
  expect_error(ErrorKind::kUsage, "got an undefined one", [&] { linear_decode(x, {}); });
}

}  // namespace
}  // namespace lexel::kernels
