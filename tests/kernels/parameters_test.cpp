#include "kernels/parameters.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

#include "tests/support/expect_error.h"

namespace lexel {
namespace {

using tests::expect_error;

struct Layer {
  at::Tensor weight, bias, gain, table;
};

ParameterList list(Layer& layer) {
  return {{"weight", {300, 100}, Init::normal(0.02), &layer.weight},
          {"bias", {300}, Init::zeros(), &layer.bias, "", false},
          {"gain", {100}, Init::ones(), &layer.gain, "", false},
          {"table", {4, 2}, Init::normal(1.0), &layer.table, "", false, false}};
}

Layer make_layer(uint64_t seed) {
  Layer layer;
  initialise(list(layer), seed, at::kCPU);
  return layer;
}

TEST(Parameters, InitialiseFillsByKind) {
  const Layer layer = make_layer(1);
  EXPECT_EQ(layer.weight.sizes(), at::IntArrayRef({300, 100}));
  EXPECT_EQ(layer.weight.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(layer.bias, at::zeros({300})));
  EXPECT_TRUE(at::equal(layer.gain, at::full({100}, 1.0)));
}

TEST(Parameters, NormalIsCutOffAtTwoStandardDeviations) {
  const at::Tensor weight = make_layer(1).weight.to(at::kDouble);
  EXPECT_LE(weight.abs().max().item<double>(), 0.04 + 1e-9);
  EXPECT_GT(weight.abs().max().item<double>(), 0.0399);
  EXPECT_NEAR(weight.mean().item<double>(), 0.0, 5 * 0.02 / std::sqrt(30000.0));
  // The standard deviation of a normal cut off at two is 0.8796 of the whole one's.
  EXPECT_NEAR(weight.std().item<double>(), 0.02 * 0.8796, 0.0003);
}

TEST(Parameters, ValuesDependOnSeedAndNameOnly) {
  Layer a, b, c;
  initialise(list(a), 5, at::kCPU);
  ParameterList turned = list(b);
  std::reverse(turned.begin(), turned.end());
  initialise(turned, 5, at::kCPU);
  EXPECT_TRUE(at::equal(a.weight, b.weight));
  EXPECT_TRUE(at::equal(a.table, b.table));

  ParameterList renamed = list(c);
  renamed[0].name = "other";
  initialise(renamed, 5, at::kCPU);
  EXPECT_FALSE(at::equal(a.weight, c.weight));
  EXPECT_FALSE(at::equal(a.weight, make_layer(6).weight));
}

TEST(Parameters, ChunksOfALargeTensorDiffer) {
  const at::Tensor values = make_layer(1).weight.flatten();
  EXPECT_FALSE(at::equal(values.slice(0, 0, 4096), values.slice(0, 4096, 8192)));
}

TEST(Parameters, CountIsTheSumOfSizes) {
  Layer layer;
  EXPECT_EQ(parameter_count(list(layer)), 30000 + 300 + 100 + 8);
  EXPECT_EQ(parameter_count(list(layer), true), 30000 + 300 + 100);
  EXPECT_EQ(parameter_count({}), 0);
}

TEST(Parameters, NamedTensorsShareStorageAndCarryNoGradient) {
  Layer layer = make_layer(1);
  require_gradients(list(layer), true);
  const auto named = named_tensors(list(layer));
  EXPECT_EQ(named.size(), 4u);
  EXPECT_EQ(named.at("weight").data_ptr(), layer.weight.data_ptr());
  EXPECT_FALSE(named.at("weight").requires_grad());
}

TEST(Parameters, NamedTensorsRejectsTwoOfOneName) {
  Layer layer = make_layer(1);
  ParameterList parameters = list(layer);
  parameters[1].name = "weight";
  expect_error(ErrorKind::kInternal, "two parameters are called weight",
               [&] { named_tensors(parameters); });
}

TEST(Parameters, AssignCopiesAndConverts) {
  Layer a = make_layer(1), b = make_layer(2);
  require_gradients(list(b), true);
  auto values = named_tensors(list(a));
  values["weight"] = values["weight"].to(at::kDouble);
  const void* storage = b.weight.data_ptr();
  assign(list(b), values);
  EXPECT_TRUE(at::equal(a.weight, b.weight.detach()));
  EXPECT_TRUE(at::equal(a.table, b.table));
  EXPECT_EQ(b.weight.data_ptr(), storage);
  EXPECT_EQ(b.weight.scalar_type(), at::kFloat);
  EXPECT_TRUE(b.weight.requires_grad());
}

TEST(Parameters, AssignRejectsBadValuesAndLeavesTheModelAsItWas) {
  Layer layer = make_layer(1);
  const at::Tensor before = layer.weight.clone();
  Layer other = make_layer(2);
  const auto good = named_tensors(list(other));

  auto missing = good;
  missing.erase("table");
  expect_error(ErrorKind::kBadData, "tensor table is missing",
               [&] { assign(list(layer), missing); });

  auto unexpected = good;
  unexpected["zzz"] = at::zeros({1});
  expect_error(ErrorKind::kBadData, "tensor zzz is unexpected",
               [&] { assign(list(layer), unexpected); });

  auto shape = good;
  shape["table"] = at::zeros({2, 4});
  expect_error(ErrorKind::kBadData, "tensor table: expected shape [4, 2], got [2, 4]",
               [&] { assign(list(layer), shape); });

  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -INFINITY}) {
    auto values = good;
    values["table"] = values["table"].clone();
    values["table"][3][1] = bad;
    expect_error(ErrorKind::kBadData, "tensor table holds a value that is not finite",
                 [&] { assign(list(layer), values); });
  }
  EXPECT_TRUE(at::equal(layer.weight, before));
}

TEST(Parameters, RequireGradientsMarksTheTrainedOnly) {
  Layer layer = make_layer(1);
  require_gradients(list(layer), true);
  EXPECT_TRUE(layer.weight.requires_grad());
  EXPECT_FALSE(layer.table.requires_grad());
  require_gradients(list(layer), false);
  EXPECT_FALSE(layer.weight.requires_grad());
}

TEST(Parameters, MoveToKeepsValueAndGradientMark) {
  Layer layer = make_layer(1);
  require_gradients(list(layer), true);
  const at::Tensor before = layer.weight.detach().clone();
  move_to(list(layer), at::kCPU);
  EXPECT_TRUE(at::equal(layer.weight.detach(), before));
  EXPECT_TRUE(layer.weight.requires_grad());
  EXPECT_TRUE(layer.weight.is_leaf());
  EXPECT_FALSE(layer.table.requires_grad());
}

}  // namespace
}  // namespace lexel
