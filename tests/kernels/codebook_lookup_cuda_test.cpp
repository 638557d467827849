// The look-up's paths by tensor cores against its float32 path, both run by the CUDA emulator: all bits are the same.

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

#include "kernels/codebook_lookup.h"
#include "kernels/cuda/codebook_lookup.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::random_tensor;

/// The look-up as a GPU of this capability does it; 0 is one without tensor cores.
CodebookMatch look_up(int capability, const at::Tensor& rows, const at::Tensor& codes,
                      const LookupOptions& options, uint64_t seed = 1) {
  const tests::OnEmulatedCuda emulated(capability, seed);
  return codebook_lookup(rows, codes, options);
}

void expect_same_bits(const at::Tensor& rows, const at::Tensor& codes,
                      const at::Tensor& allowed = {}) {
  for (const CodeMetric metric : {CodeMetric::kCosine, CodeMetric::kL2}) {
    LookupOptions options;
    options.metric = metric;
    options.count = true;
    options.allowed = allowed;
    const CodebookMatch wanted = look_up(0, rows, codes, options);
    for (const int capability : {80, 90}) {
      SCOPED_TRACE(capability);
      const CodebookMatch match =
          look_up(capability, rows, codes, options, static_cast<uint64_t>(rows.size(-2)));
      EXPECT_TRUE(at::equal(match.ids, wanted.ids));
      EXPECT_TRUE(at::equal(match.score.nan_to_num(-1), wanted.score.nan_to_num(-1)));
      EXPECT_TRUE(at::equal(match.counts, wanted.counts));
    }
  }
}

struct Shape {
  int64_t num_books, num_rows, num_codes, width;
};

void PrintTo(const Shape& shape, std::ostream* out) {
  *out << shape.num_books << "x" << shape.num_rows << "x" << shape.num_codes << "x" << shape.width;
}

class CodebookLookupTensorShapes : public testing::TestWithParam<Shape> {};

TEST_P(CodebookLookupTensorShapes, TensorCoresChangeNoBit) {
  const auto [num_books, num_rows, num_codes, width] = GetParam();
  expect_same_bits(random_tensor(1, {num_books, num_rows, width}),
                   random_tensor(2, {num_books, num_codes, width}));
}

// One chunk and several; 4 x 70 rows fill the emulated GPU's multiprocessors, so that blocks take twice the rows.
INSTANTIATE_TEST_SUITE_P(All, CodebookLookupTensorShapes,
                         testing::Values(Shape{1, 64, 256, 16}, Shape{1, 65, 1021, 32},
                                         Shape{1, 150, 300, 31}, Shape{1, 64, 512, 64},
                                         Shape{1, 70, 600, 65}, Shape{1, 64, 300, 200},
                                         Shape{1, 64, 257, 512}, Shape{4, 70, 400, 20},
                                         Shape{3, 64, 260, 5}));

TEST(CodebookLookupTensor, SizesOfRowsAndCodesDoNotMatter) {
  const at::Tensor rows = random_tensor(3, {64, 24}), codes = random_tensor(4, {300, 24});
  for (const double factor : {1e-15, 1e-4, 1e15}) {
    expect_same_bits(rows.mul(factor), codes.mul(factor));
    expect_same_bits(rows, codes.mul(factor));
  }
  // Each row and each value of another size.
  expect_same_bits(rows.mul(random_tensor(5, {64, 1}).mul(20).exp()),
                   codes.mul(random_tensor(6, {300, 24}).mul(5).exp()));
  expect_same_bits(at::zeros({64, 24}), codes);
}

TEST(CodebookLookupTensor, EqualAndHiddenAndBrokenCodes) {
  at::Tensor rows = random_tensor(7, {80, 12}), codes = random_tensor(8, {700, 12});
  rows[3][5] = NAN;
  rows[66][0] = std::numeric_limits<float>::infinity();
  codes[600].copy_(codes[2]);
  codes[0][1] = NAN;
  codes[5].fill_(std::numeric_limits<float>::infinity());
  expect_same_bits(rows, codes);
  expect_same_bits(rows, codes, random_tensor(9, {700}).gt(0));
  expect_same_bits(rows, codes, random_tensor(9, {700}).gt(2.5));
  expect_same_bits(rows, codes, at::zeros({700}, at::kBool));
  expect_same_bits(rows, at::full({300, 12}, 0.25));
}

/// How many rows the candidates did not decide.
int64_t count_hard_rows(bool sm90, const at::Tensor& rows, const at::Tensor& codes,
                        CodeMetric metric) {
  using namespace cuda;  // NOLINT: a test of that namespace
  const int64_t num_rows = rows.size(0), num_codes = codes.size(0);
  const at::Tensor ids = at::empty({num_rows}, at::kLong), hard = at::empty({num_rows}, at::kLong);
  const at::Tensor score = at::empty({num_rows}), bias = at::empty({num_codes});
  CodebookLookupArguments a{};
  a.rows = rows.const_data_ptr<float>();
  a.codes = codes.const_data_ptr<float>();
  a.num_books = 1;
  a.num_rows = num_rows;
  a.num_codes = num_codes;
  a.width = rows.size(1);
  a.l2 = metric == CodeMetric::kL2;
  a.top_k = 1;
  a.bias = bias.mutable_data_ptr<float>();
  a.ids = ids.mutable_data_ptr<int64_t>();
  a.score = score.mutable_data_ptr<float>();
  CodebookTensorScratch t{};
  t.shape = CodeTiles::of(num_codes, a.width);
  const at::Tensor tiles = at::empty({t.shape.halves()}, at::kHalf);
  const at::Tensor tile_bias = at::empty({t.shape.num_tiles * CodeTiles::kCodes});
  CodeExtent extent{};
  unsigned num_hard = 0;
  t.tiles = static_cast<uint16_t*>(tiles.mutable_data_ptr());
  t.tile_bias = tile_bias.mutable_data_ptr<float>();
  t.extents = &extent;
  t.hard_rows = hard.mutable_data_ptr<int64_t>();
  t.num_hard = &num_hard;
  launch_code_bias(a, t.extents, nullptr);
  launch_pack_codes(a, t, nullptr);
  (sm90 ? launch_candidates_sm90 : launch_candidates_mma)(a, t, 1, nullptr);
  return num_hard;
}

TEST(CodebookLookupTensor, FewRowsAreHard) {
  const at::Tensor rows = random_tensor(10, {256, 32}), codes = random_tensor(11, {2048, 32});
  for (const bool sm90 : {false, true}) {
    EXPECT_LE(count_hard_rows(sm90, rows, codes, CodeMetric::kCosine), 8);
    EXPECT_LE(count_hard_rows(sm90, rows, codes, CodeMetric::kL2), 8);
    EXPECT_EQ(count_hard_rows(sm90, rows, at::ones({2048, 32}), CodeMetric::kL2), 256);
  }
}

}  // namespace
}  // namespace lexel::kernels
