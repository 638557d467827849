#include "apps/eval/paired_frechet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <numeric>

#include "apps/eval/metrics.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::eval {
namespace {

std::vector<int64_t> all(int64_t count) {
  std::vector<int64_t> items(static_cast<size_t>(count));
  std::iota(items.begin(), items.end(), 0);
  return items;
}

TEST(PairedFrechet, EqualsTheDistanceOfTheStatistics) {
  for (const int64_t width : {3, 12, 40}) {  // fewer and more features than pictures
    const at::Tensor a = tests::random_tensor(1, {20, width});
    const at::Tensor b = 0.7 * a + 0.5 * tests::random_tensor(2, {20, width}) + 0.1;
    const double expected = frechet_distance(feature_statistics(a), feature_statistics(b));
    EXPECT_NEAR(PairedFrechet(a, b).distance(all(20)), expected, 1e-6 * expected) << width;
  }
}

TEST(PairedFrechet, IsZeroForEqualSets) {
  const at::Tensor a = tests::random_tensor(3, {15, 30});
  EXPECT_NEAR(PairedFrechet(a, a).distance(all(15)), 0.0, 1e-9);
}

TEST(PairedFrechet, OfAResampleIsThatOfItsRows) {
  const at::Tensor a = tests::random_tensor(4, {6, 4}), b = tests::random_tensor(5, {6, 4});
  const std::vector<int64_t> items{0, 0, 3, 5, 5, 5};
  const at::Tensor rows = at::tensor(items, at::kLong);
  const double expected = frechet_distance(feature_statistics(a.index_select(0, rows)),
                                           feature_statistics(b.index_select(0, rows)));
  EXPECT_NEAR(PairedFrechet(a, b).distance(items), expected, 1e-6 * expected);
}

TEST(PairedFrechet, RejectsSetsThatAreNoPairs) {
  const auto pair = [](at::IntArrayRef a, at::IntArrayRef b) {
    PairedFrechet(tests::random_tensor(1, a.vec()), tests::random_tensor(1, b.vec()));
  };
  tests::expect_error(ErrorKind::kUsage, "[5, 3] and [4, 3]", [&] { pair({5, 3}, {4, 3}); });
  tests::expect_error(ErrorKind::kUsage, "N >= 2", [&] { pair({1, 3}, {1, 3}); });
}

}  // namespace
}  // namespace lexel::eval
