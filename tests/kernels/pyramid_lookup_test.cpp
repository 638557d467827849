#include "kernels/pyramid_lookup.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::random_tensor;
using Layers = std::vector<std::vector<int64_t>>;

at::Tensor unit(uint64_t seed, const std::vector<int64_t>& shape) {
  const at::Tensor x = random_tensor(seed, shape);
  return x / x.norm(2, -1, /*keepdim=*/true);
}

std::vector<int64_t> all(int64_t positions) {
  std::vector<int64_t> result(static_cast<size_t>(positions));
  std::iota(result.begin(), result.end(), int64_t{0});
  return result;
}

/// Layers that overlap in all ways: apart, inside of each other, in another order, empty.
const Layers kOverlapping = {{3}, {7, 1, 5}, {}, all(9), {8, 3, 0}, all(9)};

struct Shape {
  const char* name;
  int64_t batch, positions, width, codes;
  bool average;
};

class PyramidLookupTest : public testing::TestWithParam<Shape> {};

INSTANTIATE_TEST_SUITE_P(Shapes, PyramidLookupTest,
                         testing::Values(Shape{"One", 1, 9, 8, 40, true},
                                         Shape{"None", 0, 9, 8, 40, true},
                                         Shape{"Odd", 3, 11, 7, 33, true},
                                         Shape{"Residual", 3, 9, 16, 700, false},
                                         Shape{"Large", 40, 9, 32, 1500, true}),
                         [](const auto& info) { return info.param.name; });

TEST_P(PyramidLookupTest, EveryChoiceIsBestInFloat64AfterThoseBeforeIt) {
  const Shape& shape = GetParam();
  const at::Tensor z = unit(1, {shape.batch, shape.positions, shape.width});
  const at::Tensor codes = unit(2, {shape.codes, shape.width});
  PyramidOptions options;
  options.streaming_average = shape.average;
  options.count = true;
  const PyramidMatch match = pyramid_lookup(z, codes, kOverlapping, options);
  ASSERT_EQ(match.ids.sizes(), at::IntArrayRef({shape.batch, 25}));

  // The same sequence once more in float64, layer by layer, with the kernel's own choices so far.
  const at::Tensor words = codes.to(at::kDouble);
  at::Tensor sums = at::zeros({shape.batch, shape.positions, shape.width}, at::kDouble);
  at::Tensor counts = at::zeros({6, shape.codes}, at::kLong);
  std::vector<int64_t> visits(static_cast<size_t>(shape.positions), 0);
  int64_t token = 0;
  for (size_t layer = 0; layer < kOverlapping.size(); ++layer) {
    for (const int64_t p : kOverlapping[layer]) {
      const double times =
          shape.average ? static_cast<double>(visits[static_cast<size_t>(p)] + 1) : 1.0;
      const at::Tensor query = z.select(1, p).to(at::kDouble) * times - sums.select(1, p);
      const at::Tensor ids = match.ids.select(1, token++);
      for (int64_t b = 0; b < shape.batch; ++b) {
        const at::Tensor scores = at::matmul(words, query[b]);  // (K)
        const int64_t id = ids[b].item<int64_t>();
        EXPECT_GE(scores[id].item<double>(), scores.max().item<double>() - 1e-5);
        sums[b][p] += words[id];
        counts[static_cast<int64_t>(layer)][id] += 1;
      }
      ++visits[static_cast<size_t>(p)];
    }
  }
  EXPECT_TRUE(at::allclose(match.sums, sums.to(at::kFloat), 0, 1e-5));
  EXPECT_TRUE(at::equal(match.visits, at::tensor(visits, at::kLong)));
  EXPECT_TRUE(at::equal(match.counts, counts));
}

TEST_P(PyramidLookupTest, IsTheReference) {
  const Shape& shape = GetParam();
  const at::Tensor z = unit(3, {shape.batch, shape.positions, shape.width});
  const at::Tensor codes = unit(4, {shape.codes, shape.width});
  PyramidOptions options;
  options.streaming_average = shape.average;
  options.count = true;
  const PyramidMatch ours = pyramid_lookup(z, codes, kOverlapping, options),
                     wanted = pyramid_lookup_reference(z, codes, kOverlapping, options);
  EXPECT_TRUE(at::equal(ours.ids, wanted.ids));  // no near tie among these numbers
  EXPECT_TRUE(at::allclose(ours.sums, wanted.sums, 0, 1e-5));
  EXPECT_TRUE(at::equal(ours.visits, wanted.visits));
  EXPECT_TRUE(at::equal(ours.counts, wanted.counts));
}

TEST(PyramidLookup, APictureDependsOnNoOtherNorOnTheThreads) {
  const at::Tensor z = unit(5, {17, 9, 32}), codes = unit(6, {900, 32});
  const PyramidMatch match = pyramid_lookup(z, codes, kOverlapping);
  const PyramidMatch one = pyramid_lookup(z.narrow(0, 11, 1).contiguous(), codes, kOverlapping);
  EXPECT_TRUE(at::equal(one.ids, match.ids.narrow(0, 11, 1)));
  EXPECT_TRUE(at::equal(one.sums, match.sums.narrow(0, 11, 1)));
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  EXPECT_TRUE(at::equal(pyramid_lookup(z, codes, kOverlapping).ids, match.ids));
  at::set_num_threads(threads);
}

TEST(PyramidLookup, TheLowestOfEqualCodesWins) {
  const at::Tensor half = unit(7, {20, 8}), codes = at::cat({half, half});
  const PyramidMatch match = pyramid_lookup(unit(8, {4, 9, 8}), codes, kOverlapping);
  EXPECT_LT(match.ids.max().item<int64_t>(), 20);
}

TEST(PyramidLookup, LatentsThatAreNotFiniteHarmNoOther) {
  at::Tensor z = unit(9, {2, 9, 8});
  const at::Tensor codes = unit(10, {30, 8});
  const PyramidMatch clean = pyramid_lookup(z, codes, kOverlapping);
  z[1][4][2] = std::numeric_limits<float>::quiet_NaN();
  PyramidOptions options;
  options.count = true;
  const PyramidMatch match = pyramid_lookup(z, codes, kOverlapping, options);
  EXPECT_TRUE(at::equal(match.ids[0], clean.ids[0]));
  EXPECT_GE(match.ids.min().item<int64_t>(), 0);
  EXPECT_EQ(match.counts.sum().item<int64_t>(), 2 * 25 - 2);  // position 4 has two visits
}

TEST(PyramidLookup, RefusesWhatDoesNotFit) {
  const at::Tensor z = unit(1, {2, 9, 8}), codes = unit(2, {30, 8});
  const auto refuses = [](const std::string& message, const at::Tensor& latents,
                          const at::Tensor& words, const Layers& layers) {
    expect_error(ErrorKind::kUsage, message, [&] { pyramid_lookup(latents, words, layers); });
    expect_error(ErrorKind::kUsage, message,
                 [&] { pyramid_lookup_reference(latents, words, layers); });
  };
  refuses("expected (B, P, D) float32 latents, got Float of shape [9, 8]", z[0], codes, {{0}});
  refuses("expected (K, 8) float32 codes, got Float of shape [30, 7]", z, codes.narrow(1, 0, 7),
          {{0}});
  refuses("expected contiguous", z.transpose(0, 1), codes, {{0}});
  refuses("expected positions in 0 to 8, got 9", z, codes, {{0}, {9}});
  refuses("expected positions once a layer, got 3 twice", z, codes, {{3, 1, 3}});
}

}  // namespace
}  // namespace lexel::kernels
