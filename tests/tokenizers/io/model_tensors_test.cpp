#include "tokenizers/io/model_tensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <functional>
#include <gtest/gtest.h>

#include "kernels/linear_decode.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::random_tensor;
using Tensors = std::map<std::string, at::Tensor>;

struct Layer {
  at::Tensor weight = random_tensor(1, {5, 9});
  at::Tensor filter = random_tensor(2, {2, 3, 3, 3});
  at::Tensor bias = random_tensor(3, {5});

  ParameterList list() {
    return {{"weight", {5, 9}, Init::zeros(), &weight},
            {"filter", {2, 3, 3, 3}, Init::zeros(), &filter},
            {"bias", {5}, Init::zeros(), &bias}};
  }
};

Layer read(const Tensors& tensors) {
  Layer layer{{}, {}, {}};
  read_parameters(layer.list(), tensors, "file", at::kCPU);
  return layer;
}

TEST(ModelTensors, WhatHasTwoDimensionsIsRoundedTheRestIsKept) {
  Layer layer;
  for (const at::ScalarType stored : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const Tensors tensors = store_parameters(layer.list(), stored);
    EXPECT_EQ(tensors.size(), 3U);
    EXPECT_EQ(tensors.at("filter").scalar_type(), stored);
    EXPECT_EQ(tensors.at("bias").scalar_type(), at::kFloat);
    const Layer back = read(tensors);
    EXPECT_TRUE(back.weight.equal(layer.weight.to(stored).to(at::kFloat)));
    EXPECT_TRUE(back.filter.equal(layer.filter.to(stored).to(at::kFloat)));
    EXPECT_TRUE(back.bias.equal(layer.bias));
  }
  expect_error(ErrorKind::kUsage, "expected float32, bfloat16, float16 or int8, got Double",
               [&] { store_parameters(layer.list(), at::kDouble); });
}

TEST(ModelTensors, Int8RowsAreWhatPackedWeightsHold) {
  Layer layer;
  const Tensors tensors = store_parameters(layer.list(), at::kChar);
  EXPECT_EQ(tensors.size(), 5U);
  EXPECT_EQ(tensors.at("weight").scalar_type(), at::kChar);
  EXPECT_EQ(tensors.at("weight.scales").sizes(), at::IntArrayRef({5}));
  const Layer back = read(tensors);
  const auto packed = [](const at::Tensor& rows) {
    return kernels::unpack_weights(kernels::pack_weights(rows, kernels::WeightFormat::kInt8));
  };
  EXPECT_TRUE(back.weight.equal(packed(layer.weight)));
  EXPECT_TRUE(back.filter.flatten(1).equal(packed(layer.filter.flatten(1))));
  EXPECT_TRUE(back.bias.equal(layer.bias));
}

TEST(ModelTensors, AModelThatWasReadHasMemoryOfItsOwn) {
  Layer layer;
  const Tensors tensors = store_parameters(layer.list(), at::kFloat);
  read(tensors).bias.zero_();
  EXPECT_GT(layer.bias.abs().sum().item<float>(), 0.0F);
}

TEST(ModelTensors, WhatDoesNotFitIsNamedAndTakesNoMemory) {
  const auto refused = [](const std::string& words, at::ScalarType stored,
                          const std::function<void(Tensors&)>& spoil) {
    Layer layer;
    Tensors tensors = store_parameters(layer.list(), stored);
    spoil(tensors);
    Layer back{{}, {}, {}};
    expect_error(ErrorKind::kBadData, "file: tensor " + words,
                 [&] { read_parameters(back.list(), tensors, "file", at::kCPU); });
    EXPECT_FALSE(back.weight.defined()) << words;
  };
  refused("\"bias\" is missing", at::kFloat, [](Tensors& t) { t.erase("bias"); });
  refused("\"more\" is unexpected", at::kFloat, [](Tensors& t) { t["more"] = at::zeros({1}); });
  refused("\"weight\": expected shape [5, 9], got [9, 5]", at::kFloat, [](Tensors& t) {
    t["weight"] = at::ones({9, 5});
  });
  refused("\"filter\": expected floats, got Int", at::kFloat, [](Tensors& t) {
    t["filter"] = at::ones({2, 3, 3, 3}, at::kInt);
  });
  refused("\"bias\": expected floats, got Char", at::kChar,
          [](Tensors& t) { t["bias"] = at::ones({5}, at::kChar); });
  refused("\"weight.scales\" is missing", at::kChar, [](Tensors& t) { t.erase("weight.scales"); });
  refused("\"weight.scales\" is unexpected", at::kChar, [](Tensors& t) {
    t["weight"] = at::ones({5, 9});
  });
  refused("\"weight.scales\": expected shape [5], got [1]", at::kChar,
          [](Tensors& t) { t["weight.scales"] = at::ones({1}); });
  refused("\"weight.scales\": expected floats, got Int", at::kChar,
          [](Tensors& t) { t["weight.scales"] = at::ones({5}, at::kInt); });
}

TEST(ModelTensors, WhatIsNotFiniteIsNamed) {
  Layer layer;
  Tensors tensors = store_parameters(layer.list(), at::kChar);
  tensors["weight.scales"][3].fill_(INFINITY);
  expect_error(ErrorKind::kBadData, "file: tensor \"weight\" holds a value that is not finite",
               [&] { read(tensors); });
  layer.weight[0][0].fill_(1e6);  // past the largest float16
  EXPECT_NO_THROW(store_parameters(layer.list(), at::kBFloat16));
  for (const at::ScalarType stored : {at::kHalf, at::kChar}) {
    if (stored == at::kChar) layer.weight[0][0].fill_(INFINITY);
    expect_error(ErrorKind::kBadData, "tensor \"weight\" holds a value that is not finite",
                 [&] { store_parameters(layer.list(), stored); });
  }
}

}  // namespace
}  // namespace lexel
