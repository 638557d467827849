// codebook_lookup of a row or three, which reads the codes as they lie, must give the bits of packed panels.

#include "kernels/cpu/codebook_few.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/codebook_lookup.h"
#include "tests/support/kernel_paths.h"
#include "tests/support/lookup_paths.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using cpu::LookupPath;
using tests::OnlyLookupPath;
using tests::random_tensor;
using tests::same_bits;

void expect_bits_of_panels(const at::Tensor& rows, const at::Tensor& codes,
                           const at::Tensor& allowed = {}) {
  LookupOptions options;
  options.allowed = allowed;
  for (const auto& [metric, top_k] : {std::pair{CodeMetric::kCosine, 1},
                                      {CodeMetric::kL2, 1},
                                      {CodeMetric::kCosine, 8},
                                      {CodeMetric::kL2, 3}}) {
    options.metric = metric;
    options.top_k = top_k;
    tests::on_every_target([&] {
      const CodebookMatch match = codebook_lookup(rows, codes, options);
      const OnlyLookupPath only(LookupPath::kPanels);
      const CodebookMatch wanted = codebook_lookup(rows, codes, options);
      EXPECT_TRUE(same_bits(match.ids, wanted.ids)) << match.ids << wanted.ids;
      EXPECT_TRUE(same_bits(match.score, wanted.score)) << match.score << wanted.score;
    });
  }
}

/// Whether all codes can be scanned for these rows, by each target of this machine that has vectors.
bool scanned(const at::Tensor& rows, const at::Tensor& codes) {
  bool all = true;
  tests::on_every_target([&] {
    if (hwy::SupportedTargets() == HWY_SCALAR) return;
    std::vector<int64_t> ids(3, 0);
    std::vector<float> score(3, cpu::kMinusInfinity);
    const cpu::CodesInPlay in_play{codes.const_data_ptr<float>(), codes.size(1), true, nullptr,
                                   codes.size(0)};
    all = cpu::scan_codes(rows.const_data_ptr<float>(), rows.size(0), in_play, 0, codes.size(0),
                          {1, ids.data(), score.data()}) &&
          all;
  });
  return all;
}

TEST(CodebookFew, BitsOfPanelsOverShapes) {
  for (const int64_t num_rows : {1, 2, 3}) {
    for (const int64_t num_codes : {1, 5, 63, 2048, 2049, 5000}) {
      for (const int64_t width : {3, 16, 32, 48, 272}) {
        SCOPED_TRACE(testing::Message() << num_rows << "x" << num_codes << "x" << width);
        const at::Tensor rows = random_tensor(1, {num_rows, width});
        expect_bits_of_panels(rows, random_tensor(2, {num_codes, width}));
      }
    }
  }
}

TEST(CodebookFew, CodesApartAreScannedAndEqualCodesAreNot) {
  EXPECT_TRUE(scanned(random_tensor(3, {2, 32}), random_tensor(4, {3000, 32})));
  EXPECT_FALSE(scanned(random_tensor(3, {2, 32}), at::full({3000, 32}, 0.25)));
  EXPECT_FALSE(scanned(random_tensor(3, {2, 33}), random_tensor(4, {3000, 33})));
}

TEST(CodebookFew, BitsOfPanelsWhereCodesAreClose) {
  const at::Tensor rows = random_tensor(5, {3, 32});
  for (const double distance : {1e-2, 1e-4, 1e-6, 0.0}) {
    SCOPED_TRACE(distance);
    expect_bits_of_panels(rows, random_tensor(6, {3000, 32}).mul_(distance).add_(1));
  }
  const at::Tensor some = random_tensor(7, {40, 64});
  expect_bits_of_panels(some.slice(0, 0, 3), at::cat({some, some.flip(0), some}));
}

TEST(CodebookFew, BitsOfPanelsAtEveryScale) {
  const at::Tensor rows = random_tensor(8, {2, 16}), codes = random_tensor(9, {300, 16});
  for (const double row_scale : {1e-44, 1e-38, 1e-20, 1.0, 1e15}) {
    for (const double code_scale : {1e-44, 1e-38, 1e-20, 1.0, 1e15}) {
      SCOPED_TRACE(testing::Message() << row_scale << " x " << code_scale);
      expect_bits_of_panels(rows * row_scale, codes * code_scale);
    }
  }
  const at::Tensor mixed = codes * random_tensor(10, {300, 1}).mul_(8).exp();
  expect_bits_of_panels(rows, mixed);
}

TEST(CodebookFew, RowsAndCodesThatAreNotFiniteAndHiddenCodes) {
  at::Tensor rows = random_tensor(11, {3, 16}), codes = random_tensor(12, {3000, 16});
  expect_bits_of_panels(rows, codes, random_tensor(13, {3000}).gt(1.0));
  codes[2500][7] = std::numeric_limits<float>::quiet_NaN();
  codes[100][15] = std::numeric_limits<float>::infinity();
  expect_bits_of_panels(rows, codes);
  rows[1][3] = -std::numeric_limits<float>::infinity();
  expect_bits_of_panels(rows, codes);
}

TEST(CodebookFew, NumberOfThreadsChangesNothing) {
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  expect_bits_of_panels(random_tensor(14, {3, 64}), random_tensor(15, {9000, 64}));
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace lexel::kernels
