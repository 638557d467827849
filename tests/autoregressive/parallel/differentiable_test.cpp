#include "autoregressive/parallel/differentiable.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>
#include <functional>
#include <gtest/gtest.h>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using tests::on_mesh;

at::Tensor made(uint64_t seed, const std::vector<int64_t>& shape) {
  return tests::random_tensor(seed, shape).to(at::kDouble);
}

/// What every rank starts with and weighs its result by, known to all so that each can say what must come out.
std::vector<at::Tensor> of_ranks(uint64_t seed, int64_t ranks, const std::vector<int64_t>& shape) {
  std::vector<at::Tensor> all;
  for (int64_t r = 0; r < ranks; ++r) all.push_back(made(seed + static_cast<uint64_t>(r), shape));
  return all;
}

at::Tensor sum(const std::vector<at::Tensor>& all) {
  at::Tensor total = at::zeros_like(all[0]);
  for (const at::Tensor& x : all) total = total + x;
  return total;
}

at::Tensor part(const at::Tensor& x, int64_t dim, int64_t rank, int64_t ranks) {
  return x.narrow(dim, rank * x.size(dim) / ranks, x.size(dim) / ranks);
}

using Collective = std::function<at::Tensor(const at::Tensor&, const Group&)>;
/// From the tensors of all ranks: that of one rank.
using Meaning =
    std::function<at::Tensor(const std::vector<at::Tensor>&, int64_t rank, int64_t ranks)>;

void expect(const std::vector<int64_t>& shape, const Collective& collective, const Meaning& value,
            const Meaning& gradient) {
  for (const char* mesh : {"tensor=2", "tensor=4"}) {
    on_mesh(mesh, [&](Mesh& m) {
      const Group& group = m.along("tensor");
      const int64_t n = group.size(), rank = group.rank();
      const std::vector<at::Tensor> inputs = of_ranks(1, n, shape);
      const at::Tensor x = inputs[static_cast<size_t>(rank)].clone().requires_grad_();
      const at::Tensor y = collective(x, group);
      const at::Tensor wanted = value(inputs, rank, n);
      EXPECT_LT(tests::relative_difference(y, wanted), 1e-14) << mesh;
      const std::vector<at::Tensor> weights = of_ranks(100, n, wanted.sizes().vec());
      (y * weights[static_cast<size_t>(rank)]).sum().backward();
      EXPECT_LT(tests::relative_difference(x.grad(), gradient(weights, rank, n)), 1e-14) << mesh;
    });
  }
}

const auto kOwn = [](const std::vector<at::Tensor>& all, int64_t rank, int64_t) {
  return all[static_cast<size_t>(rank)];
};
const auto kSum = [](const std::vector<at::Tensor>& all, int64_t, int64_t) { return sum(all); };
const auto kAll = [](const std::vector<at::Tensor>& all, int64_t, int64_t) {
  return at::cat(all, 1);
};
const auto kPartOfOwn = [](const std::vector<at::Tensor>& all, int64_t rank, int64_t ranks) {
  return part(all[static_cast<size_t>(rank)], 1, rank, ranks);
};
const auto kPartOfSum = [](const std::vector<at::Tensor>& all, int64_t rank, int64_t ranks) {
  return part(sum(all), 1, rank, ranks);
};
const auto kPartsForMe = [](const std::vector<at::Tensor>& all, int64_t rank, int64_t ranks) {
  std::vector<at::Tensor> parts;
  for (const at::Tensor& x : all) parts.push_back(part(x, 0, rank, ranks));
  return at::cat(parts, 0);
};

TEST(Differentiable, CopySumsGradients) { expect({3, 5}, copy, kOwn, kSum); }

TEST(Differentiable, ReduceSumsValues) { expect({3, 5}, reduce, kSum, kOwn); }

TEST(Differentiable, GatherScattersTheSumOfGradients) {
  const auto collective = [](const at::Tensor& x, const Group& g) { return gather(x, 1, g); };
  expect({3, 5, 2}, collective, kAll, kPartOfSum);
}

TEST(Differentiable, GatherEqualGivesTheOwnPartBack) {
  const auto collective = [](const at::Tensor& x, const Group& g) {
    return gather_equal(x, -2, g);
  };
  expect({3, 5, 2}, collective, kAll, kPartOfOwn);
}

TEST(Differentiable, ScatterSumGathersGradients) {
  const auto collective = [](const at::Tensor& x, const Group& g) { return scatter_sum(x, 1, g); };
  expect({3, 8, 2}, collective, kPartOfSum, kAll);
}

TEST(Differentiable, SplitGathersGradients) {
  const auto collective = [](const at::Tensor& x, const Group& g) { return split(x, 1, g); };
  expect({3, 8, 2}, collective, kPartOfOwn, kAll);
}

TEST(Differentiable, AllToAllIsItsOwnTranspose) {
  expect({8, 3}, all_to_all, kPartsForMe, kPartsForMe);
}

TEST(Differentiable, AGroupOfOneGivesTheTensorItself) {
  const Group one("tensor");
  const at::Tensor x = made(1, {3, 5});
  EXPECT_TRUE(copy(x, one).is_same(x));
  EXPECT_TRUE(reduce(x, one).is_same(x));
  EXPECT_TRUE(gather(x, 0, one).is_same(x));
  EXPECT_TRUE(scatter_sum(x, 0, one).is_same(x));
}

TEST(Differentiable, WhatDoesNotDivideNamesTheAxis) {
  on_mesh("tensor=2", [](Mesh& mesh) {
    const Group& group = mesh.along("tensor");
    const at::Tensor x = made(1, {3, 5});
    tests::expect_error(ErrorKind::kUsage, "axis tensor: dimension 1 of [3, 5] does not divide",
                        [&] { split(x, 1, group); });
    tests::expect_error(ErrorKind::kUsage, "axis tensor: dimension 0",
                        [&] { scatter_sum(x, 0, group); });
    tests::expect_error(ErrorKind::kUsage, "axis tensor: dimension 0",
                        [&] { all_to_all(x, group); });
  });
}

}  // namespace
}  // namespace lexel::parallel
