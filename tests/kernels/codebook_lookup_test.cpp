#include "kernels/codebook_lookup.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/emulated_cuda.h"
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

/// One of the ways to run the kernel.
class Path {
 public:
  using Function = CodebookMatch (*)(const at::Tensor&, const at::Tensor&, const LookupOptions&);
  explicit Path(Function function) : function_(function) {}

  CodebookMatch operator()(const at::Tensor& rows, const at::Tensor& codes,
                           const LookupOptions& options) const {
    return function_(rows, codes, options);
  }
  CodebookMatch operator()(const at::Tensor& rows, const at::Tensor& codes,
                           CodeMetric metric) const {
    LookupOptions options;
    options.metric = metric;
    return function_(rows, codes, options);
  }

 private:
  Function function_;
};

const Path on_cpu(codebook_lookup);
const Path reference(codebook_lookup_reference);

/// codebook_lookup on the GPU, with tensors of the CPU.
const Path on_gpu([](const at::Tensor& rows, const at::Tensor& codes,
                     const LookupOptions& options) -> CodebookMatch {
  LookupOptions there = options;
  if (options.allowed.defined()) there.allowed = options.allowed.to(at::kCUDA);
  const CodebookMatch match = codebook_lookup(rows.to(at::kCUDA), codes.to(at::kCUDA), there);
  return {match.ids.cpu(), match.score.cpu(),
          match.counts.defined() ? match.counts.cpu() : at::Tensor()};
});

/// Runs `check` with the reference, the GPU where there is one, the CUDA code on the CPU, and each target that this machine has.
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
  {
    SCOPED_TRACE("emulated CUDA");
    const tests::OnEmulatedCuda emulated(/*capability=*/90);
    check(on_cpu);
  }
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    const OnlyTarget only(target);
    check(on_cpu);
  }
}

/// The winners of `match` against float64's, `wanted`, both (N) or (N, k): each that differs must be a near tie of the one
/// in its place, and few may. The margin is the docstring's; a score may be off by twice that.
void expect_winners(const CodebookMatch& match, const CodebookMatch& wanted, const at::Tensor& rows,
                    const at::Tensor& codes, CodeMetric metric) {
  const auto got_ids = ids(match), wanted_ids = ids(wanted);
  const auto got_score = score(match), wanted_score = score(wanted);
  ASSERT_EQ(match.ids.sizes(), wanted.ids.sizes());
  const size_t top_k = match.ids.dim() == 1 ? 1 : static_cast<size_t>(match.ids.size(1));
  const at::Tensor rows64 = rows.to(at::kDouble), codes64 = codes.to(at::kDouble);
  const auto size_of = [](const at::Tensor& v) { return v.norm().item<double>(); };
  int64_t flips = 0;
  for (size_t i = 0; i < wanted_ids.size(); ++i) {
    ASSERT_EQ(std::isnan(got_score[i]), std::isnan(wanted_score[i])) << "result " << i;
    ASSERT_GE(got_ids[i], 0);
    ASSERT_LT(got_ids[i], codes.size(0));
    if (std::isnan(wanted_score[i])) {
      EXPECT_EQ(got_ids[i], 0) << "result " << i;
      continue;
    }
    for (size_t j = i / top_k * top_k; j < i; ++j) EXPECT_NE(got_ids[i], got_ids[j]);
    const at::Tensor x = rows64[static_cast<int64_t>(i / top_k)];
    const double code_size = size_of(codes64[got_ids[i]]);
    const double scale = (size_of(x) + code_size) * code_size;
    if (got_ids[i] != wanted_ids[i]) {
      const auto value_of = [&](int64_t id) {
        const at::Tensor c = codes64[id];
        return metric == CodeMetric::kCosine ? x.dot(c).item<double>()
                                             : -0.5 * x.sub(c).square().sum().item<double>();
      };
      ++flips;
      EXPECT_LT(std::abs(value_of(wanted_ids[i]) - value_of(got_ids[i])), 2e-6 * scale)
          << "result " << i;
    }
    EXPECT_NEAR(got_score[i], wanted_score[i], 4e-6 * (scale + std::abs(wanted_score[i])))
        << "result " << i;
  }
  EXPECT_LE(flips, 1 + static_cast<int64_t>(wanted_ids.size()) / 200);
  if (flips > 0) testing::Test::RecordProperty("flips", static_cast<int>(flips));
}

TEST(CodebookLookup, HandMadeCosine) {
  const at::Tensor rows = matrix({{1, 0}, {0, 2}, {-1, -1}, {3, 4}});
  const at::Tensor codes = matrix({{1, 0}, {0, 1}, {-1, 0}, {0.6F, 0.8F}});
  on_every_path([&](const Path& lookup) {
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
  on_every_path([&](const Path& lookup) {
    EXPECT_EQ(ids(lookup(rows, codes, CodeMetric::kCosine)), (std::vector<int64_t>{0, 0}));
    const CodebookMatch match = lookup(rows, codes, CodeMetric::kL2);
    EXPECT_EQ(ids(match), (std::vector<int64_t>{1, 0}));
    EXPECT_EQ(score(match), (std::vector<float>{1, 1}));
  });
}

TEST(CodebookLookup, HandMadeTopK) {
  // Products with (1, 2): 2, 5, 4, 5, -1; the tie of codes 1 and 3 goes to the first.
  const at::Tensor rows = matrix({{1, 2}, {1, 0}});
  const at::Tensor codes = matrix({{2, 0}, {1, 2}, {0, 2}, {5, 0}, {-1, 0}});
  on_every_path([&](const Path& lookup) {
    LookupOptions options;
    options.top_k = 3;
    const CodebookMatch match = lookup(rows, codes, options);
    EXPECT_EQ(match.ids.sizes(), at::IntArrayRef({2, 3}));
    EXPECT_EQ(ids(match), (std::vector<int64_t>{1, 3, 2, 3, 0, 1}));
    EXPECT_EQ(score(match), (std::vector<float>{5, 5, 4, 5, 2, 1}));
    options.metric = CodeMetric::kL2;  // squared distances of row 0: 5, 0, 1, 20, 8
    const CodebookMatch nearest = lookup(rows, codes, options);
    EXPECT_EQ(ids(nearest), (std::vector<int64_t>{1, 2, 0, 0, 1, 4}));
    EXPECT_EQ(score(nearest), (std::vector<float>{0, 1, 5, 1, 4, 4}));
  });
}

TEST(CodebookLookup, PlacesThatNoCodeIsLeftForGetIdZeroAndScoreNan) {
  const at::Tensor codes = matrix({{1}, {kNan}, {3}});
  on_every_path([&](const Path& lookup) {
    LookupOptions options;
    options.top_k = 4;
    const CodebookMatch match = lookup(matrix({{2}, {kNan}}), codes, options);
    EXPECT_EQ(ids(match), (std::vector<int64_t>{2, 0, 0, 0, 0, 0, 0, 0}));
    const auto scores = score(match);
    EXPECT_EQ(scores[0], 6);
    EXPECT_EQ(scores[1], 2);
    for (size_t i = 2; i < 8; ++i) EXPECT_TRUE(std::isnan(scores[i])) << i;
  });
}

TEST(CodebookLookup, CountsTheBestCodesOfRowsThatHaveOne) {
  const at::Tensor rows = matrix({{1, 0}, {2, 0}, {kNan, 0}, {0, 5}, {3, 0}});
  const at::Tensor codes = matrix({{0, -1}, {1, 0}, {0, 1}, {-1, 0}});
  on_every_path([&](const Path& lookup) {
    for (const int64_t top_k : {1, 2}) {
      LookupOptions options;
      options.count = true;
      options.top_k = top_k;
      const at::Tensor counts = lookup(rows, codes, options).counts;
      EXPECT_EQ(counts.scalar_type(), at::kLong);
      EXPECT_TRUE(at::equal(counts, at::tensor({0, 3, 1, 0}, at::kLong)));
    }
    EXPECT_FALSE(lookup(rows, codes, CodeMetric::kCosine).counts.defined());
  });
}

TEST(CodebookLookup, HiddenCodesAreNeverChosen) {
  const at::Tensor rows = matrix({{1, 0}, {0, 1}});
  const at::Tensor codes = matrix({{5, 0}, {2, 1}, {1, 2}, {0, 9}});
  on_every_path([&](const Path& lookup) {
    LookupOptions options;
    options.allowed = at::tensor({0, 1, 1, 0}).to(at::kBool);
    options.count = true;
    for (const CodeMetric metric : kMetrics) {
      options.metric = metric;
      const CodebookMatch match = lookup(rows, codes, options);
      EXPECT_EQ(ids(match), (std::vector<int64_t>{1, 2}));
      EXPECT_TRUE(at::equal(match.counts, at::tensor({0, 1, 1, 0}, at::kLong)));
    }
    options.allowed = at::zeros({4}, at::kBool);
    const CodebookMatch none = lookup(rows, codes, options);
    EXPECT_EQ(ids(none), (std::vector<int64_t>{0, 0}));
    EXPECT_TRUE(std::isnan(score(none)[0]) && std::isnan(score(none)[1]));
    EXPECT_TRUE(at::equal(none.counts, at::zeros({4}, at::kLong)));
  });
}

TEST(CodebookLookup, CodebooksOfABatchDoNotMeet) {
  // Code 0 of the second codebook would win in the first; (K) masks hide the same code in both, (C, K) one in each.
  const at::Tensor rows = matrix({{1, 0}, {0, 1}, {1, 0}, {0, 1}}).view({2, 2, 2});
  const at::Tensor codes = matrix({{1, 0}, {0, 1}, {2, 2}, {9, 0}, {0, 8}, {1, 1}}).view({2, 3, 2});
  on_every_path([&](const Path& lookup) {
    LookupOptions options;
    options.count = true;
    CodebookMatch match = lookup(rows, codes, options);
    EXPECT_EQ(match.ids.sizes(), at::IntArrayRef({2, 2}));
    EXPECT_EQ(ids(match), (std::vector<int64_t>{2, 2, 0, 1}));
    EXPECT_TRUE(at::equal(match.counts, at::tensor({0, 0, 2, 1, 1, 0}, at::kLong).view({2, 3})));
    options.allowed = at::tensor({0, 1, 1}).to(at::kBool);
    EXPECT_EQ(ids(lookup(rows, codes, options)), (std::vector<int64_t>{2, 2, 2, 1}));
    options.allowed = at::tensor({1, 1, 0, 1, 0, 1}).to(at::kBool).view({2, 3});
    options.top_k = 2;
    match = lookup(rows, codes, options);
    EXPECT_EQ(match.ids.sizes(), at::IntArrayRef({2, 2, 2}));
    EXPECT_EQ(ids(match), (std::vector<int64_t>{0, 1, 1, 0, 0, 2, 2, 0}));
  });
}

TEST(CodebookLookup, LowestIndexWinsATie) {
  // Code 3 again at every distance: same vector, other vector, other lane, other panel, other chunk of codes.
  at::Tensor codes = random_tensor(1, {5000, 300});
  codes.mul_(0.01);
  for (const int64_t copy : {3, 4, 20, 37, 100, 2999, 3508, 4999}) codes[copy].fill_(0.5);
  const at::Tensor rows = at::full({5, 300}, 0.5);
  on_every_path([&](const Path& lookup) {
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
  on_every_path([&](const Path& lookup) {
    for (const CodeMetric metric : kMetrics) {
      EXPECT_EQ(ids(lookup(rows, codes, metric)), std::vector<int64_t>(9, 0));
    }
  });
}

TEST(CodebookLookup, EachCodeFindsItself) {
  const at::Tensor codes = random_tensor(2, {300, 16});
  const at::Tensor unit = codes.div(codes.norm(2, 1, true));
  on_every_path([&](const Path& lookup) {
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

TEST_P(CodebookLookupShapes, EmulatedCudaFindsTheWinnersOfFloat64) {
  const auto [num_rows, num_codes, width] = GetParam();
  const at::Tensor rows = random_tensor(3, {num_rows, width});
  const at::Tensor codes = random_tensor(4, {num_codes, width});
  for (const int64_t top_k : {1, 3}) {
    if (top_k > 1 && num_codes > 1000) continue;  // it is slow
    LookupOptions options;
    options.top_k = top_k;
    options.metric = top_k == 3 ? CodeMetric::kL2 : CodeMetric::kCosine;
    const CodebookMatch wanted = reference(rows, codes, options);
    for (const int capability : {80, 90}) {
      if (num_codes > 10000 || (capability == 90 && num_rows < 64)) continue;  // slow; the same
      SCOPED_TRACE(capability);
      const tests::OnEmulatedCuda emulated(capability, static_cast<uint64_t>(num_rows));
      expect_winners(codebook_lookup(rows, codes, options), wanted, rows, codes, options.metric);
    }
  }
}

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

TEST(CodebookLookup, EveryTargetFindsTheTopKOfFloat64) {
  for (const auto& [num_rows, num_codes, width] : kShapes) {
    if (width > 300) continue;
    SCOPED_TRACE(num_codes);
    const at::Tensor rows = random_tensor(15, {num_rows, width});
    const at::Tensor codes = random_tensor(16, {num_codes, width});
    for (const int64_t top_k : {2, 8}) {
      LookupOptions options;
      options.top_k = top_k;
      options.metric = top_k == 2 ? CodeMetric::kCosine : CodeMetric::kL2;
      const CodebookMatch wanted = reference(rows, codes, options);
      tests::on_every_target([&] {
        const CodebookMatch match = codebook_lookup(rows, codes, options);
        expect_winners(match, wanted, rows, codes, options.metric);
        const CodebookMatch one = codebook_lookup(rows, codes, options.metric);
        EXPECT_TRUE(at::equal(match.ids.select(1, 0), one.ids));
        EXPECT_TRUE(at::equal(match.score.select(1, 0), one.score));
      });
    }
  }
}

TEST(CodebookLookup, AMaskIsTheSameAsASmallerCodebook) {
  const at::Tensor rows = random_tensor(17, {70, 19});
  const at::Tensor codes = random_tensor(18, {2000, 19});
  for (const double share : {0.002, 0.3, 0.99}) {
    const at::Tensor allowed = random_tensor(19, {2000}).erf().lt(2 * share - 1);
    const at::Tensor subset = allowed.nonzero().flatten();
    ASSERT_GT(subset.numel(), 0);
    on_every_path([&](const Path& lookup) {
      for (const int64_t top_k : {1, 3}) {
        LookupOptions options;
        options.metric = CodeMetric::kL2;
        options.top_k = top_k;
        const CodebookMatch small = lookup(rows, codes.index_select(0, subset), options);
        options.allowed = allowed;
        const CodebookMatch match = lookup(rows, codes, options);
        EXPECT_TRUE(at::equal(match.score.nan_to_num(-1), small.score.nan_to_num(-1)));
        const at::Tensor ids = subset.index_select(0, small.ids.flatten()).view(small.ids.sizes());
        EXPECT_TRUE(at::equal(match.ids, ids.masked_fill(small.score.ne(small.score), 0)));
      }
    });
  }
}

TEST(CodebookLookup, ABatchEqualsItsCodebooksOneByOne) {
  for (const int64_t num_books : {1, 3, 40}) {
    const at::Tensor rows = random_tensor(20, {num_books, 33, 12});
    const at::Tensor codes = random_tensor(21, {num_books, 130, 12});
    LookupOptions options;
    options.count = true;
    options.metric = CodeMetric::kL2;
    on_every_path([&](const Path& lookup) {
      const CodebookMatch match = lookup(rows, codes, options);
      for (int64_t book = 0; book < num_books; ++book) {
        const CodebookMatch alone = lookup(rows[book], codes[book], options);
        EXPECT_TRUE(at::equal(match.ids[book], alone.ids));
        EXPECT_TRUE(at::equal(match.score[book], alone.score));
        EXPECT_TRUE(at::equal(match.counts[book], alone.counts));
        EXPECT_TRUE(at::equal(alone.counts, at::bincount(alone.ids, {}, 130)));
      }
    });
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
  const at::Tensor codes = random_tensor(9, {3000, 32});
  const int threads = at::get_num_threads();
  for (const int64_t num_rows : {1, 7, 500}) {
    const at::Tensor rows = random_tensor(8, {num_rows, 32});
    for (const int64_t top_k : {1, 4}) {
      LookupOptions options;
      options.metric = CodeMetric::kL2;
      options.top_k = top_k;
      at::set_num_threads(3);
      const CodebookMatch many = codebook_lookup(rows, codes, options);
      at::set_num_threads(1);
      const CodebookMatch one = codebook_lookup(rows, codes, options);
      at::set_num_threads(threads);
      EXPECT_TRUE(at::equal(many.ids, one.ids));
      EXPECT_TRUE(at::equal(many.score, one.score));
    }
  }
}

TEST(CodebookLookup, RowAloneEqualsRowOfABatch) {
  const at::Tensor rows = random_tensor(10, {65, 32});
  const at::Tensor codes = random_tensor(11, {777, 32});
  on_every_path([&](const Path& lookup) {
    const CodebookMatch batch = lookup(rows, codes, CodeMetric::kCosine);
    for (const int64_t size : {1, 2, 3, 5}) {
      const CodebookMatch few = lookup(rows.slice(0, 3, 3 + size), codes, CodeMetric::kCosine);
      EXPECT_TRUE(at::equal(few.ids, batch.ids.slice(0, 3, 3 + size)));
      EXPECT_TRUE(at::equal(few.score, batch.score.slice(0, 3, 3 + size)));
    }
  });
}

TEST(CodebookLookup, NoRowsGiveEmptyResults) {
  on_every_path([&](const Path& lookup) {
    const CodebookMatch match = lookup(at::empty({0, 8}), at::zeros({5, 8}), CodeMetric::kL2);
    EXPECT_EQ(match.ids.sizes(), at::IntArrayRef({0}));
    EXPECT_EQ(match.ids.scalar_type(), at::kLong);
    EXPECT_EQ(match.score.sizes(), at::IntArrayRef({0}));
    LookupOptions options;
    options.count = true;
    options.top_k = 2;
    const CodebookMatch more = lookup(at::empty({3, 0, 8}), at::zeros({3, 5, 8}), options);
    EXPECT_EQ(more.ids.sizes(), at::IntArrayRef({3, 0, 2}));
    EXPECT_TRUE(at::equal(more.counts, at::zeros({3, 5}, at::kLong)));
  });
}

TEST(CodebookLookup, RowThatIsNotFiniteGetsIdZeroAndScoreNan) {
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    at::Tensor rows = random_tensor(12, {20, 5});
    rows[7][4] = bad;
    const at::Tensor codes = random_tensor(13, {100, 5});
    on_every_path([&](const Path& lookup) {
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
    on_every_path([&](const Path& lookup) {
      for (const CodeMetric metric : kMetrics) {
        EXPECT_EQ(ids(lookup(rows, codes, metric)), std::vector<int64_t>(3, 10));
      }
    });
  }
}

TEST(CodebookLookup, NoFiniteCodeGivesIdZeroAndScoreNan) {
  const at::Tensor codes = at::full({70, 3}, kNan);
  on_every_path([&](const Path& lookup) {
    const CodebookMatch match = lookup(at::zeros({2, 3}), codes, CodeMetric::kL2);
    EXPECT_EQ(ids(match), (std::vector<int64_t>{0, 0}));
    EXPECT_TRUE(std::isnan(score(match)[1]));
  });
}

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
/// A number of /proc/self/status in kB.
int64_t memory_kb(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(name + ":", 0) == 0) return std::stoll(line.substr(name.size() + 1));
  }
  return -1;
}

TEST(CodebookLookup, MemoryBesideTheResultsStaysBelowTenMegabytes) {
  const at::Tensor rows = random_tensor(22, {384, 256});
  const at::Tensor codes = random_tensor(23, {65536, 256});  // 67 MB; the scores would be 101 MB
  codebook_lookup(rows.slice(0, 0, 40), codes.slice(0, 0, 1000), CodeMetric::kCosine);
  std::ofstream reset("/proc/self/clear_refs");
  if (!(reset << 5 << std::flush)) GTEST_SKIP() << "the peak of memory cannot be reset";
  for (const int64_t top_k : {1, 8}) {
    LookupOptions options;
    options.top_k = top_k;
    const int64_t before_kb = memory_kb("VmRSS");
    codebook_lookup(rows, codes, options);
    EXPECT_LT(memory_kb("VmHWM") - before_kb, 10'000) << top_k;
  }
}
#endif

TEST(CodebookLookup, RejectsArgumentsThatAreNotAsDocumented) {
  const at::Tensor rows = at::zeros({4, 8}), codes = at::zeros({6, 8});
  const auto rejects = [](const at::Tensor& x, const at::Tensor& c, const std::string& message) {
    for (const Path& lookup : {on_cpu, reference}) {
      expect_error(ErrorKind::kUsage, "codebook_lookup: " + message,
                   [&] { lookup(x, c, CodeMetric::kCosine); });
    }
  };
  rejects({}, codes, "expected two tensors, got an undefined one");
  rejects(rows.to(at::kDouble), codes, "expected float32, got rows Double and codes Float");
  rejects(rows, codes.to(at::kHalf), "expected float32, got rows Float and codes Half");
  rejects(at::zeros({8}), codes,
          "expected rows (N, D) and codes (K, D), or (C, N, D) and (C, K, D), got [8] and [6, 8]");
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

TEST(CodebookLookup, RejectsOptionsThatAreNotAsDocumented) {
  const at::Tensor rows = at::zeros({3, 4, 8}), codes = at::zeros({3, 6, 8});
  const auto rejects = [&](const LookupOptions& options, const std::string& message) {
    for (const Path& lookup : {on_cpu, reference}) {
      expect_error(ErrorKind::kUsage, "codebook_lookup: " + message,
                   [&] { lookup(rows, codes, options); });
    }
  };
  LookupOptions options;
  options.top_k = 0;
  rejects(options, "expected top_k in 1..8, got 0");
  options.top_k = 9;
  rejects(options, "expected top_k in 1..8, got 9");
  options.top_k = 1;
  options.allowed = at::ones({6});
  rejects(options, "expected allowed of bool, got Float");
  options.allowed = at::ones({3}, at::kBool);
  rejects(options, "expected allowed (K) or (C, K), got [3] for codes [3, 6, 8]");
  options.allowed = at::ones({6, 3}, at::kBool).t();
  rejects(options, "expected contiguous tensors, got allowed of strides [1, 3]");
  options.allowed = at::empty({3, 6}, at::TensorOptions(at::kBool).device(at::kMeta));
  rejects(options, "expected one device, got rows on cpu and allowed on meta");
  for (const Path& lookup : {on_cpu, reference}) {
    expect_error(
        ErrorKind::kUsage,
        "codebook_lookup: expected one number of codebooks C, got rows [3, 4, 8] and codes "
        "[2, 6, 8]",
        [&] {
          lookup(rows, at::zeros({2, 6, 8}), CodeMetric::kL2);
        });
    expect_error(ErrorKind::kUsage, "codebook_lookup: expected rows (N, D) and codes (K, D)", [&] {
      lookup(rows, at::zeros({6, 8}), CodeMetric::kL2);
    });
  }
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
