#include "kernels/codebook_lookup.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
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

#include "tests/support/expect_error.h"
#include "tests/support/gpu.h"
#include "tests/support/kernel_paths.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::OnlyTarget;
using tests::random_tensor;

constexpr CodeMetric kMetrics[] = {CodeMetric::kCosine, CodeMetric::kL2};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

at::Tensor matrix(const std::vector<std::vector<float>>& values) {
  const auto rows = static_cast<int64_t>(values.size());
  const auto columns = static_cast<int64_t>(values.front().size());
  at::Tensor result = at::empty({rows, columns});
  float* target = result.data_ptr<float>();
  for (const auto& row : values) target = std::copy(row.begin(), row.end(), target);
  return result;
}

std::vector<int64_t> ids(const CodebookMatch& match) {
  const int64_t* const first = match.ids.const_data_ptr<int64_t>();
  return {first, first + match.ids.numel()};
}

std::vector<float> score(const CodebookMatch& match) {
  const float* const first = match.score.const_data_ptr<float>();
  return {first, first + match.score.numel()};
}

CodebookMatch on_cpu(const at::Tensor& rows, const at::Tensor& codes, CodeMetric metric) {
  return codebook_lookup(rows, codes, metric);
}

CodebookMatch reference(const at::Tensor& rows, const at::Tensor& codes, CodeMetric metric) {
  LookupOptions options;
  options.metric = metric;
  return codebook_lookup_reference(rows, codes, options);
}

/// codebook_lookup on the GPU, with tensors of the CPU.
CodebookMatch on_gpu(const at::Tensor& rows, const at::Tensor& codes, CodeMetric metric) {
  const CodebookMatch match = codebook_lookup(rows.to(at::kCUDA), codes.to(at::kCUDA), metric);
  return {match.ids.cpu(), match.score.cpu(), {}};
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
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    const OnlyTarget only(target);
    check(on_cpu);
  }
}

/// The winners of `match` against float64's, `wanted`: each that differs must be a near tie, and few may.
void expect_winners(const CodebookMatch& match, const CodebookMatch& wanted, const at::Tensor& rows,
                    const at::Tensor& codes, CodeMetric metric) {
  const auto got_ids = ids(match), wanted_ids = ids(wanted);
  const auto got_score = score(match), wanted_score = score(wanted);
  int64_t flips = 0;
  for (size_t i = 0; i < wanted_ids.size(); ++i) {
    const at::Tensor x = rows[static_cast<int64_t>(i)].to(at::kDouble);
    const auto size_of = [](const at::Tensor& v) { return v.norm().item<double>(); };
    const auto value_of = [&](int64_t id) {
      const at::Tensor c = codes[id].to(at::kDouble);
      return metric == CodeMetric::kCosine ? x.dot(c).item<double>()
                                           : -0.5 * x.sub(c).square().sum().item<double>();
    };
    ASSERT_GE(got_ids[i], 0);
    ASSERT_LT(got_ids[i], codes.size(0));
    const double code_size = size_of(codes[got_ids[i]].to(at::kDouble));
    const double scale = (size_of(x) + code_size) * code_size;
    if (got_ids[i] != wanted_ids[i]) {
      ++flips;
      EXPECT_LT(value_of(wanted_ids[i]) - value_of(got_ids[i]), 2e-6 * scale) << "row " << i;
    }
    EXPECT_NEAR(got_score[i], wanted_score[i], 4e-6 * (scale + std::abs(wanted_score[i])))
        << "row " << i;
  }
  EXPECT_LE(flips, 1 + static_cast<int64_t>(wanted_ids.size()) / 200);
}

TEST(CodebookLookup, HandMadeCosine) {
  const at::Tensor rows = matrix({{1, 0}, {0, 2}, {-1, -1}, {3, 4}});
  const at::Tensor codes = matrix({{1, 0}, {0, 1}, {-1, 0}, {0.6F, 0.8F}});
  on_every_path([&](auto lookup) {
    const CodebookMatch match = lookup(rows, codes, CodeMetric::kCosine);
    EXPECT_EQ(ids(match), (std::vector<int64_t>{0, 1, 2, 3}));
    EXPECT_EQ(match.ids.scalar_type(), at::kLong);
    EXPECT_EQ(match.score.scalar_type(), at::kFloat);
    const auto scores = score(match);
    EXPECT_FLOAT_EQ(scores[0], 1);
    EXPECT_FLOAT_EQ(scores[1], 2);
    EXPECT_FLOAT_EQ(scores[2], 1);
    EXPECT_FLOAT_EQ(scores[3], 5);
  });
}

TEST(CodebookLookup, HandMadeL2DiffersFromCosine) {
  const at::Tensor rows = matrix({{1, 1}, {9, 0}});
  const at::Tensor codes = matrix({{10, 0}, {1, 2}, {0, 0}});
  on_every_path([&](auto lookup) {
    EXPECT_EQ(ids(lookup(rows, codes, CodeMetric::kCosine)), (std::vector<int64_t>{0, 0}));
    const CodebookMatch match = lookup(rows, codes, CodeMetric::kL2);
    EXPECT_EQ(ids(match), (std::vector<int64_t>{1, 0}));
    EXPECT_EQ(score(match), (std::vector<float>{1, 1}));
  });
}

TEST(CodebookLookup, LowestIndexWinsATie) {
  // Code 3 again at every distance: same vector, other vector, other lane, other panel, other chunk of codes.
  at::Tensor codes = random_tensor(1, {5000, 300});
  codes.mul_(0.01);
  for (const int64_t copy : {3, 4, 20, 37, 100, 2999, 3508, 4999}) codes[copy].fill_(0.5);
  const at::Tensor rows = at::full({5, 300}, 0.5);
  on_every_path([&](auto lookup) {
    for (const CodeMetric metric : kMetrics) {
      EXPECT_EQ(ids(lookup(rows, codes, metric)), std::vector<int64_t>(5, 3));
      const at::Tensor later = codes.slice(0, 5);  // without the first two
      EXPECT_EQ(ids(lookup(rows, later, metric)), std::vector<int64_t>(5, 15));
    }
  });
}

TEST(CodebookLookup, EqualCodesGiveIdZero) {
  const at::Tensor rows = random_tensor(1, {9, 7});
  const at::Tensor codes = at::zeros({130, 7});
  on_every_path([&](auto lookup) {
    for (const CodeMetric metric : kMetrics) {
      EXPECT_EQ(ids(lookup(rows, codes, metric)), std::vector<int64_t>(9, 0));
    }
  });
}

TEST(CodebookLookup, EachCodeFindsItself) {
  const at::Tensor codes = random_tensor(2, {300, 16});
  const at::Tensor unit = codes.div(codes.norm(2, 1, true));
  on_every_path([&](auto lookup) {
    EXPECT_TRUE(at::equal(lookup(unit, unit, CodeMetric::kCosine).ids, at::arange(300)));
    const CodebookMatch match = lookup(codes, codes, CodeMetric::kL2);
    EXPECT_TRUE(at::equal(match.ids, at::arange(300)));
    EXPECT_TRUE(at::equal(match.score, at::zeros({300})));
  });
}

struct Shape {
  int64_t num_rows, num_codes, width;
};

// Nothing divides anything; 9 x 1111 x 1024 and 17 x 4201 x 257 take two chunks of codes.
constexpr Shape kShapes[] = {{1, 1, 1},       {1, 2, 1},       {3, 1, 5},      {7, 47, 3},
                             {8, 48, 8},      {9, 49, 33},     {65, 1021, 32}, {300, 513, 31},
                             {9, 1111, 1024}, {17, 4201, 257}, {2, 40000, 32}};

void PrintTo(const Shape& shape, std::ostream* out) {
  *out << shape.num_rows << "x" << shape.num_codes << "x" << shape.width;
}

class CodebookLookupShapes : public testing::TestWithParam<Shape> {};

TEST_P(CodebookLookupShapes, EveryTargetFindsTheWinnersOfFloat64) {
  const auto [num_rows, num_codes, width] = GetParam();
  const at::Tensor rows = random_tensor(3, {num_rows, width});
  const at::Tensor codes = random_tensor(4, {num_codes, width});
  for (const CodeMetric metric : kMetrics) {
    const CodebookMatch wanted = reference(rows, codes, metric);
    for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
      SCOPED_TRACE(hwy::TargetName(target));
      const OnlyTarget only(target);
      expect_winners(codebook_lookup(rows, codes, metric), wanted, rows, codes, metric);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CodebookLookupShapes, testing::ValuesIn(kShapes));

TEST(CodebookLookup, TheGpuFindsTheWinnersOfFloat64) {
  if (!tests::kHasGpu) GTEST_SKIP() << "this machine has no GPU";
  for (const auto& [num_rows, num_codes, width] : kShapes) {
    SCOPED_TRACE(num_codes);
    const at::Tensor rows = random_tensor(3, {num_rows, width});
    const at::Tensor codes = random_tensor(4, {num_codes, width});
    for (const CodeMetric metric : kMetrics) {
      const CodebookMatch match = on_gpu(rows, codes, metric);
      expect_winners(match, reference(rows, codes, metric), rows, codes, metric);
    }
  }
}

TEST(CodebookLookup, LargestCodebook) {
  const at::Tensor codes = random_tensor(5, {262144, 4});
  const at::Tensor rows = at::cat({codes.slice(0, 262143), codes.slice(0, 131072, 131073)});
  EXPECT_EQ(ids(codebook_lookup(rows, codes, CodeMetric::kL2)),
            (std::vector<int64_t>{262143, 131072}));
}

TEST(CodebookLookup, CloseCodesAreToldApartUpToTheStatedMargin) {
  // 2,000 codes within 1e-3 of each other: float32 flips some; expect_winners shows each flip a near tie.
  const at::Tensor codes = random_tensor(6, {2000, 32}).mul_(1e-3).add_(1);
  const at::Tensor rows = random_tensor(7, {400, 32});
  constexpr CodeMetric kMetric = CodeMetric::kCosine;
  expect_winners(codebook_lookup(rows, codes, kMetric), reference(rows, codes, kMetric), rows,
                 codes, kMetric);
}

TEST(CodebookLookup, NumberOfThreadsChangesNothing) {
  const at::Tensor rows = random_tensor(8, {500, 32});
  const at::Tensor codes = random_tensor(9, {3000, 32});
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  const CodebookMatch many = codebook_lookup(rows, codes, CodeMetric::kL2);
  at::set_num_threads(1);
  const CodebookMatch one = codebook_lookup(rows, codes, CodeMetric::kL2);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(many.ids, one.ids));
  EXPECT_TRUE(at::equal(many.score, one.score));
}

TEST(CodebookLookup, RowAloneEqualsRowOfABatch) {
  const at::Tensor rows = random_tensor(10, {21, 32});
  const at::Tensor codes = random_tensor(11, {777, 32});
  const CodebookMatch batch = codebook_lookup(rows, codes, CodeMetric::kCosine);
  for (int64_t i = 0; i < rows.size(0); ++i) {
    const CodebookMatch alone =
        codebook_lookup(rows.slice(0, i, i + 1), codes, CodeMetric::kCosine);
    EXPECT_TRUE(at::equal(alone.ids, batch.ids.slice(0, i, i + 1)));
    EXPECT_TRUE(at::equal(alone.score, batch.score.slice(0, i, i + 1)));
  }
}

TEST(CodebookLookup, NoRowsGiveEmptyResults) {
  on_every_path([&](auto lookup) {
    const CodebookMatch match = lookup(at::empty({0, 8}), at::zeros({5, 8}), CodeMetric::kL2);
    EXPECT_EQ(match.ids.sizes(), at::IntArrayRef({0}));
    EXPECT_EQ(match.ids.scalar_type(), at::kLong);
    EXPECT_EQ(match.score.sizes(), at::IntArrayRef({0}));
  });
}

TEST(CodebookLookup, RowThatIsNotFiniteGetsIdZeroAndScoreNan) {
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    at::Tensor rows = random_tensor(12, {20, 5});
    rows[7][4] = bad;
    const at::Tensor codes = random_tensor(13, {100, 5});
    on_every_path([&](auto lookup) {
      for (const CodeMetric metric : kMetrics) {
        const CodebookMatch match = lookup(rows, codes, metric);
        EXPECT_EQ(ids(match)[7], 0);
        EXPECT_TRUE(std::isnan(score(match)[7]));
        EXPECT_FALSE(std::isnan(score(match)[6]));
        EXPECT_FALSE(std::isnan(score(match)[8]));
      }
    });
  }
}

TEST(CodebookLookup, CodeThatIsNotFiniteIsNeverChosen) {
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    at::Tensor codes = random_tensor(14, {64, 5}).abs_();
    codes[10].fill_(100);
    codes[9].fill_(1000);
    codes[9][2] = bad;
    const at::Tensor rows = at::full({3, 5}, 100.0);
    on_every_path([&](auto lookup) {
      for (const CodeMetric metric : kMetrics) {
        EXPECT_EQ(ids(lookup(rows, codes, metric)), std::vector<int64_t>(3, 10));
      }
    });
  }
}

TEST(CodebookLookup, NoFiniteCodeGivesIdZeroAndScoreNan) {
  const at::Tensor codes = at::full({70, 3}, kNan);
  on_every_path([&](auto lookup) {
    const CodebookMatch match = lookup(at::zeros({2, 3}), codes, CodeMetric::kL2);
    EXPECT_EQ(ids(match), (std::vector<int64_t>{0, 0}));
    EXPECT_TRUE(std::isnan(score(match)[1]));
  });
}

TEST(CodebookLookup, RejectsArgumentsThatAreNotAsDocumented) {
  const at::Tensor rows = at::zeros({4, 8}), codes = at::zeros({6, 8});
  const auto rejects = [](const at::Tensor& x, const at::Tensor& c, const std::string& message) {
    for (const auto lookup : {on_cpu, reference}) {
      expect_error(ErrorKind::kUsage, "codebook_lookup: " + message,
                   [&] { lookup(x, c, CodeMetric::kCosine); });
    }
  };
  rejects({}, codes, "expected two tensors, got an undefined one");
  rejects(rows.to(at::kDouble), codes, "expected float32, got rows Double and codes Float");
  rejects(rows, codes.to(at::kHalf), "expected float32, got rows Float and codes Half");
  rejects(at::zeros({8}), codes, "expected rows (N, D) and codes (K, D), got [8] and [6, 8]");
  rejects(rows, at::zeros({6, 7}), "expected one width D, got rows [4, 8] and codes [6, 7]");
  rejects(at::zeros({4, 0}), at::zeros({6, 0}), "expected D in 1..1024, got 0");
  rejects(at::zeros({1, 1025}), at::zeros({1, 1025}), "expected D in 1..1024, got 1025");
  rejects(rows, at::zeros({0, 8}), "expected K in 1..262144, got 0");
  rejects(at::zeros({1, 1}), at::zeros({262145, 1}), "expected K in 1..262144, got 262145");
  rejects(at::empty({4, 8}, at::kMeta), codes,
          "expected one device, got rows on meta and codes on cpu");
  rejects(at::empty({4, 8}, at::kMeta), at::empty({6, 8}, at::kMeta),
          "expected a CPU or CUDA tensor");
  rejects(at::zeros({8, 4}).t(), codes,
          "expected contiguous tensors, got strides [1, 4] and [8, 1]");
}

TEST(CodebookLookup, DispatchTriesMoreThanOneTarget) {
#if HWY_ARCH_X86_64
  EXPECT_GE(hwy::SupportedAndGeneratedTargets().size(), 2u);
#else
  GTEST_SKIP() << "one target on this architecture";
#endif
}

}  // namespace
}  // namespace lexel::kernels
