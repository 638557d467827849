#include "kernels/sampling.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
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

#include "kernels/sampling_arithmetic.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/expect_error.h"
#include "tests/support/gpu.h"
#include "tests/support/kernel_paths.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::on_every_target;
using tests::random_tensor;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

/// Rows numbered as pictures, at positions 5, 6, 7...
Drawn draw(const at::Tensor& logits, const SamplingOptions& options,
           const at::Tensor& unconditional = {}) {
  const at::Tensor pictures = at::arange(logits.size(0), at::kLong);
  return sample(logits, unconditional, pictures, pictures.add(5), options);
}

Drawn wanted(const at::Tensor& logits, const SamplingOptions& options,
             const at::Tensor& unconditional = {}) {
  const at::Tensor pictures = at::arange(logits.size(0), at::kLong);
  return sample_reference(logits, unconditional, pictures, pictures.add(5), options);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return at::equal(a.view(at::kInt), b.view(at::kInt));
}

void expect_same(const Drawn& got, const Drawn& want) {
  EXPECT_TRUE(at::equal(got.ids, want.ids)) << got.ids << want.ids;
  EXPECT_TRUE(same_bits(got.log_probabilities, want.log_probabilities))
      << got.log_probabilities << want.log_probabilities;
}

/// The reference, every instruction set and the GPU, where there is one, agree in every bit.
void expect_all_agree(const at::Tensor& logits, const SamplingOptions& options,
                      const at::Tensor& unconditional = {}) {
  const Drawn want = wanted(logits, options, unconditional);
  on_every_target([&] { expect_same(draw(logits, options, unconditional), want); });
  if (!tests::kHasGpu) return;
  SCOPED_TRACE("GPU");
  const at::Tensor pictures = at::arange(logits.size(0), at::kLong).to(at::kCUDA);
  const Drawn gpu = sample(logits.to(at::kCUDA),
                           unconditional.defined() ? unconditional.to(at::kCUDA) : unconditional,
                           pictures, pictures.add(5), options);
  expect_same({gpu.ids.cpu(), gpu.log_probabilities.cpu()}, want);
}

at::Tensor row(const std::vector<float>& values) {
  return at::tensor(values).unsqueeze(0).contiguous();
}

/// The ids drawn at positions 0 .. count-1 of one row of logits.
std::vector<int64_t> draws(const at::Tensor& logits, const SamplingOptions& options,
                           int64_t count) {
  const at::Tensor rows = logits.expand({count, logits.size(1)}).contiguous();
  const Drawn drawn =
      sample(rows, {}, at::zeros({count}, at::kLong), at::arange(count, at::kLong), options);
  const int64_t* const ids = drawn.ids.const_data_ptr<int64_t>();
  return {ids, ids + count};
}

TEST(Sampling, WeightsAreThoseOfTheExponential) {
  for (float x = 0.0F; x > -28.0F; x -= 0.0037F) {
    const double exact = std::exp(static_cast<double>(x)) * 0x1p40;
    // 2 ulp of float32, and the floor.
    EXPECT_NEAR(static_cast<double>(token_weight(x, 1.0F)), exact, exact * 0x1p-22 + 1.0) << x;
  }
  EXPECT_EQ(token_weight(0.0F, 1.0F), uint64_t{1} << 40);
  EXPECT_EQ(token_weight(-28.0F, 1.0F), 0u);
  EXPECT_EQ(token_weight(-kInfinity, 1.0F), 0u);
  EXPECT_EQ(token_weight(-kInfinity, 1e-30F), 0u);
  EXPECT_EQ(token_weight(-1e30F, 1e-38F), uint64_t{1} << 40);
}

TEST(Sampling, LogProbabilityIsTheLogarithm) {
  for (uint64_t total = 1; total < uint64_t{1} << 60; total = total * 3 + 1) {
    for (uint64_t weight = 1; weight <= total && weight <= uint64_t{1} << 40; weight *= 7) {
      const double exact = std::log(static_cast<double>(weight) / static_cast<double>(total));
      EXPECT_FLOAT_EQ(log_probability(weight, total), static_cast<float>(exact));
    }
  }
  EXPECT_EQ(log_probability(5, 5), 0.0F);
}

TEST(Sampling, HighProductIsExact) {
  EXPECT_EQ(multiply_high(~uint64_t{0}, ~uint64_t{0}), ~uint64_t{0} - 1);
  EXPECT_EQ(multiply_high(uint64_t{1} << 63, 10), 5u);
  EXPECT_EQ(multiply_high(0x123456789ABCDEF0, 0xFEDCBA9876543210), 0x121FA00AD77D7422u);
}

TEST(Sampling, TheDrawIsAWordOfTheNamedStream) {
  Philox stream(17, "sample", 3);
  for (int64_t position = 0; position < 5; ++position) {
    stream.next_u64();  // the two words of this position
    stream.next_u64();
    Philox again(17, "sample", 3);
    for (int64_t i = 0; i < 2 * position; ++i) again.next_u64();
    EXPECT_EQ(draw_below(uint64_t{1} << 32, 17, 3, position), again.next_u64() >> 32);
  }
}

TEST(Sampling, HandMadeDraws) {
  // Probabilities 0, 1/4, 0, 3/4, and of the draws r of 200 positions each share within 4 standard deviations.
  const at::Tensor logits = row({-kInfinity, 0.0F, -kInfinity, std::log(3.0F)});
  on_every_target([&] {
    int64_t ones = 0;
    for (const int64_t id : draws(logits, {}, 200)) {
      EXPECT_TRUE(id == 1 || id == 3);
      ones += id == 1;
    }
    EXPECT_NEAR(static_cast<double>(ones), 50.0, 4 * std::sqrt(200 * 0.25 * 0.75));
    const Drawn drawn = draw(logits, {});
    const double want = drawn.ids.item<int64_t>() == 1 ? 0.25 : 0.75;
    EXPECT_FLOAT_EQ(drawn.log_probabilities.item<float>(), static_cast<float>(std::log(want)));
  });
}

TEST(Sampling, GuidanceMovesAwayFromTheUnconditional) {
  // u + 3 (c - u): {1, 0, 5} from c = {1, 1, 2}, u = {1, 1.5, 0.5}.
  const at::Tensor conditional = row({1.0F, 1.0F, 2.0F}), unconditional = row({1.0F, 1.5F, 0.5F});
  SamplingOptions options;
  options.guidance = 3.0;
  const double sum = std::exp(1.0) + std::exp(0.0) + std::exp(5.0);
  const double logits[] = {1.0, 0.0, 5.0};
  on_every_target([&] {
    for (options.seed = 0; options.seed < 50; ++options.seed) {
      const Drawn drawn = draw(conditional, options, unconditional);
      const double probability = std::exp(logits[drawn.ids.item<int64_t>()]) / sum;
      EXPECT_NEAR(drawn.log_probabilities.item<float>(), std::log(probability), 1e-5);
    }
  });
}

TEST(Sampling, GuidanceOfOneIsTheConditionalAlone) {
  const at::Tensor conditional = random_tensor(1, {9, 100});
  const at::Tensor unconditional = at::full({9, 100}, kNan);
  expect_same(draw(conditional, {}, unconditional), draw(conditional, {}));
}

struct Options {
  const char* name;
  SamplingOptions options;
};

std::vector<Options> all_options(int64_t vocabulary) {
  std::vector<Options> result;
  const auto add = [&](const char* name, double guidance, double temperature, int64_t top_k,
                       double top_p) {
    result.push_back({name, {guidance, temperature, std::min(top_k, vocabulary), top_p, 99}});
  };
  add("plain", 1.0, 1.0, 0, 1.0);
  add("guided", 4.5, 1.0, 0, 1.0);
  add("negative guidance", -2.0, 0.7, 0, 0.99);
  add("no guidance", 0.0, 1.3, 7, 0.5);
  add("cold", 3.0, 1e-3, 0, 0.9);
  add("hot", 3.0, 1e6, 50, 0.9);
  add("greedy", 3.0, 0.0, 10, 0.5);
  add("top-k of 1", 2.0, 1.0, 1, 1.0);
  add("top-k of 2", 2.0, 1.0, 2, 1.0);
  add("top-k", 2.0, 1.0, 100, 1.0);
  add("top-k, all but few", 2.0, 5.0, vocabulary - std::min<int64_t>(3, vocabulary - 1), 1.0);
  add("top-p", 2.0, 1.0, 0, 0.9);
  add("small top-p", 2.0, 1.0, 0, 1e-9);
  add("top-p close to 1", 2.0, 1.0, 0, 1.0 - 1e-12);
  add("top-k and top-p", 3.0, 0.9, 256, 0.95);
  return result;
}

class SamplingSizes : public testing::TestWithParam<int64_t> {};

TEST_P(SamplingSizes, EveryPathDrawsTheSame) {
  const int64_t vocabulary = GetParam();
  const int64_t rows = vocabulary > 10000 ? 2 : 9;
  for (const double scale : {3.0, 1e-4, 40.0}) {
    const at::Tensor logits = random_tensor(2, {rows, vocabulary}).mul_(scale);
    const at::Tensor unconditional = random_tensor(3, {rows, vocabulary}).mul_(scale);
    for (const auto& [name, options] : all_options(vocabulary)) {
      SCOPED_TRACE(name);
      expect_all_agree(logits, options, unconditional);
    }
    if (vocabulary > 10000) return;  // the rest is for the small
  }
}

INSTANTIATE_TEST_SUITE_P(All, SamplingSizes,
                         testing::Values(1, 2, 3, 31, 33, 64, 1000, 1024, 1025, 8192, 8193,
                                         100003));

TEST(Sampling, TiesOfEveryKind) {
  // Few different values: every cut falls among equals. And whole rows of one value, with both zeros.
  at::Tensor logits = random_tensor(4, {12, 700}).mul_(1.5).round_();
  logits[10].fill_(2.5);
  logits[11].fill_(0.0);
  logits[11].slice(0, 3, 300).fill_(-0.0);
  for (const auto& [name, options] : all_options(700)) {
    SCOPED_TRACE(name);
    expect_all_agree(logits, options);
  }
  SamplingOptions options;
  options.top_k = 5;  // of equals the first five
  for (const int64_t id : draws(logits.slice(0, 11, 12), options, 100)) EXPECT_LT(id, 5);
  options.top_k = 0;
  options.top_p = 0.01;
  for (const int64_t id : draws(logits.slice(0, 10, 11), options, 100)) EXPECT_LT(id, 7);
}

TEST(Sampling, UnusualDistributions) {
  at::Tensor logits = random_tensor(5, {8, 8192});
  logits[0].slice(0, 0, 8000).fill_(-1e9);  // hidden by a large number
  logits[1].slice(0, 100, 8192).fill_(-kLargest);
  logits[2].mul_(1e-6).add_(7);    // nearly uniform
  logits[3].mul_(100);             // nearly certain
  logits[4].exp_().exp_().exp_();  // spread over many magnitudes
  logits[5][4000] = kLargest;      // alone
  logits[6] = at::arange(8192).to(at::kFloat).mul(-0.001);
  logits[7].copy_(logits[7].abs().reciprocal().clamp(-1e30, 1e30));
  for (const auto& [name, options] : all_options(8192)) {
    SCOPED_TRACE(name);
    expect_all_agree(logits, options);
  }
}

TEST(Sampling, LogitsThatAreNotFiniteAreNeverDrawn) {
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    at::Tensor logits = random_tensor(6, {6, 300});
    logits.slice(1, 0, 250).fill_(bad);
    logits[3].fill_(bad);
    logits[4].slice(0, 0, 299).fill_(bad);
    for (const auto& [name, options] : all_options(300)) {
      SCOPED_TRACE(name);
      expect_all_agree(logits, options);
      const Drawn drawn = draw(logits, options);
      const int64_t* const ids = drawn.ids.const_data_ptr<int64_t>();
      EXPECT_GE(ids[0], 250);
      EXPECT_EQ(ids[3], 0);
      EXPECT_TRUE(std::isnan(drawn.log_probabilities.const_data_ptr<float>()[3]));
      EXPECT_EQ(ids[4], 299);
      EXPECT_EQ(drawn.log_probabilities.const_data_ptr<float>()[4], 0.0F);
    }
  }
}

TEST(Sampling, GuidanceThatOverflowsHidesTheToken) {
  const at::Tensor conditional = row({1.0F, kLargest, -kInfinity, 2.0F});
  const at::Tensor unconditional = row({0.0F, -kLargest, 0.0F, -kInfinity});
  SamplingOptions options;
  options.guidance = 1e5;
  expect_all_agree(conditional, options, unconditional);
  on_every_target(
      [&] { EXPECT_EQ(draw(conditional, options, unconditional).ids.item<int64_t>(), 0); });
}

/// The CUDA code on the CPU agrees with the reference in every bit. Its blocks are slow: few rows.
void expect_emulated(const at::Tensor& logits, const SamplingOptions& options,
                     const at::Tensor& unconditional = {}) {
  const Drawn want = wanted(logits, options, unconditional);
  const tests::OnEmulatedCuda emulated;
  expect_same(draw(logits, options, unconditional), want);
}

TEST(Sampling, EmulatedCudaDrawsTheSame) {
  at::Tensor ties = random_tensor(21, {1, 1500}).mul_(1.5).round_();  // crowded bins
  for (const int64_t vocabulary : {1, 2, 33, 700, 1028, 8192, 8195}) {
    const at::Tensor logits = random_tensor(19, {1, vocabulary}).mul_(2);
    const at::Tensor unconditional = random_tensor(20, {1, vocabulary}).mul_(2);
    const int64_t top_k = std::min<int64_t>(100, vocabulary);
    SCOPED_TRACE(vocabulary);
    expect_emulated(logits, {3.0, 0.9, top_k, 0.95, 7}, unconditional);
    expect_emulated(logits, {2.0, 1.1, 0, 0.8, 8}, unconditional);
    if (vocabulary == 700) expect_emulated(logits, {1.0, 0.0, 0, 1.0, 9});
  }
  expect_emulated(ties, {1.0, 1.0, 1200, 0.9, 10});
  expect_emulated(ties.fill_(0.5), {1.0, 1.0, 7, 0.5, 11});
}

TEST(Sampling, EmulatedCudaTakesUnusualRows) {
  at::Tensor logits = random_tensor(22, {5, 2000});
  logits[0].slice(0, 0, 1900).fill_(-1e9);
  logits[1].exp_().exp_().exp_();
  logits[2].slice(0, 0, 1999).fill_(kNan);
  logits[3].fill_(-kInfinity);
  logits[4].mul_(1e-42);  // denormal
  logits[4][3] = kLargest;
  logits[4][4] = -kLargest;
  expect_emulated(logits, {1.0, 1.0, 900, 0.99, 12});
}

TEST(Sampling, TemperatureZeroAndTopKOfOneTakeTheFirstOfTheLargest) {
  at::Tensor logits = random_tensor(7, {20, 500});
  logits.select(1, 77).fill_(9.0);
  logits.select(1, 400).fill_(9.0);
  SamplingOptions cold, one;
  cold.temperature = 0.0;
  one.top_k = 1;
  on_every_target([&] {
    for (const auto& options : {cold, one}) {
      const Drawn drawn = draw(logits, options);
      EXPECT_TRUE(at::equal(drawn.ids, at::full({20}, 77, at::kLong)));
      EXPECT_TRUE(at::equal(drawn.log_probabilities, at::zeros({20})));
    }
  });
}

/// Sum of (seen - expected)^2 / expected over the tokens that are expected at all; others must not be seen.
void expect_distribution(const std::vector<int64_t>& ids, const std::vector<double>& weights) {
  double total = 0.0, statistic = 0.0;
  int64_t tokens = -1;
  for (const double weight : weights) {
    total += weight;
    tokens += weight > 0.0;
  }
  std::vector<int64_t> seen(weights.size());
  for (const int64_t id : ids) ++seen[static_cast<size_t>(id)];
  for (size_t i = 0; i < weights.size(); ++i) {
    const double expected = static_cast<double>(ids.size()) * weights[i] / total;
    if (expected == 0.0) {
      EXPECT_EQ(seen[i], 0) << i;
    } else {
      statistic += std::pow(static_cast<double>(seen[i]) - expected, 2) / expected;
    }
  }
  // Mean f, variance 2 f: five standard deviations.
  const auto freedom = static_cast<double>(tokens);
  EXPECT_LT(statistic, freedom + 5 * std::sqrt(2 * freedom));
}

TEST(Sampling, DrawsFollowTheProbabilities) {
  constexpr int64_t kTokens = 24, kDraws = 40000;
  const at::Tensor logits = random_tensor(8, {1, kTokens});
  const float* const values = logits.const_data_ptr<float>();
  std::vector<size_t> order(kTokens);
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
  for (const int64_t top_k : {0, 9}) {
    for (const double top_p : {1.0, 0.8}) {
      SamplingOptions options{1.0, 0.8, top_k, top_p, 12};
      std::vector<double> weights(kTokens);
      double total = 0.0;
      const size_t count = top_k == 0 ? kTokens : 9;
      for (size_t i = 0; i < count; ++i) total += std::exp(values[order[i]] / 0.8);
      double reached = 0.0;
      for (size_t i = 0; i < count && reached < top_p * total; ++i) {
        weights[order[i]] = std::exp(values[order[i]] / 0.8);
        reached += weights[order[i]];
      }
      expect_distribution(draws(logits, options, kDraws), weights);
    }
  }
}

TEST(Sampling, DrawsOfOtherPicturesAndSeedsAreOthers) {
  const at::Tensor logits = at::zeros({1, 1 << 20});
  const auto id = [&](uint64_t seed, int64_t picture, int64_t position) {
    SamplingOptions options;
    options.seed = seed;
    return sample(logits, {}, at::full({1}, picture, at::kLong), at::full({1}, position, at::kLong),
                  options)
        .ids.item<int64_t>();
  };
  const int64_t first = id(1, 2, 3);
  EXPECT_EQ(id(1, 2, 3), first);
  EXPECT_NE(id(2, 2, 3), first);
  EXPECT_NE(id(1, 3, 3), first);
  EXPECT_NE(id(1, 2, 4), first);
  EXPECT_NE(id(1, 2 + (int64_t{1} << 32), 3), first);
  EXPECT_NE(id(1 + (uint64_t{1} << 32), 2, 3), first);
  EXPECT_NE(id(1, -1, (int64_t{1} << 32) - 1), first);
}

TEST(Sampling, ThreadsAndTheRestOfTheBatchChangeNothing) {
  const at::Tensor logits = random_tensor(9, {33, 5000}).mul_(2);
  const at::Tensor unconditional = random_tensor(10, {33, 5000}).mul_(2);
  const at::Tensor pictures = at::arange(33, at::kLong), positions = pictures.mul(7);
  SamplingOptions options{3.0, 0.9, 1000, 0.9, 5};
  const Drawn all = sample(logits, unconditional, pictures, positions, options);
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  expect_same(sample(logits, unconditional, pictures, positions, options), all);
  at::set_num_threads(threads);
  for (int64_t i = 0; i < 33; ++i) {
    const auto one = [&](const at::Tensor& x) { return x.slice(0, i, i + 1); };
    expect_same(sample(one(logits), one(unconditional), one(pictures), one(positions), options),
                {one(all.ids), one(all.log_probabilities)});
  }
}

TEST(Sampling, NoRows) {
  const Drawn drawn = draw(at::empty({0, 5}), {});
  EXPECT_EQ(drawn.ids.sizes(), at::IntArrayRef({0}));
  EXPECT_EQ(drawn.log_probabilities.sizes(), at::IntArrayRef({0}));
}

TEST(Sampling, RejectsWhatIsNotAsDocumented) {
  const at::Tensor logits = at::zeros({2, 8}), numbers = at::zeros({2}, at::kLong);
  const auto rejects = [](const std::string& message, const at::Tensor& x, const at::Tensor& u,
                          const at::Tensor& pictures, const at::Tensor& positions,
                          const SamplingOptions& options = {}) {
    for (const auto function : {sample, sample_reference}) {
      expect_error(ErrorKind::kUsage, "sample: " + message,
                   [&] { function(x, u, pictures, positions, options); });
    }
  };
  rejects("expected logits, got an undefined tensor", {}, {}, numbers, numbers);
  rejects("expected logits as float32, got Double", logits.to(at::kDouble), {}, numbers, numbers);
  rejects("expected logits (B, V), got [8]", at::zeros({8}), {}, numbers, numbers);
  rejects("expected V in 1..1048576, got 0", at::zeros({2, 0}), {}, numbers, numbers);
  rejects("expected V in 1..1048576, got 1048577", at::zeros({2, 1048577}), {}, numbers, numbers);
  rejects("expected contiguous logits, got strides [1, 2]", at::zeros({8, 2}).t(), {}, numbers,
          numbers);
  rejects("expected a CPU or CUDA tensor, got logits on meta", at::empty({2, 8}, at::kMeta), {},
          numbers, numbers);
  rejects("expected unconditional logits of shape [2, 8], got [2, 9]", logits, at::zeros({2, 9}),
          numbers, numbers);
  rejects("expected unconditional logits as float32, got Half", logits, logits.to(at::kHalf),
          numbers, numbers);
  rejects("expected pictures, got an undefined tensor", logits, {}, {}, numbers);
  rejects("expected pictures as int64, got Int", logits, {}, numbers.to(at::kInt), numbers);
  rejects("expected positions of shape [2], got [3]", logits, {}, numbers,
          at::zeros({3}, at::kLong));
  rejects("expected one device, got logits on cpu and positions on meta", logits, {}, numbers,
          at::empty({2}, at::TensorOptions(at::kMeta).dtype(at::kLong)));
  rejects("expected contiguous pictures, got strides [2]", logits, {},
          at::zeros({2, 2}, at::kLong).select(1, 0), numbers);
  rejects("expected positions in 0..4294967295, got -1", logits, {}, numbers, numbers.sub(1));
  rejects("expected positions in 0..4294967295, got 4294967296", logits, {}, numbers,
          numbers.add(int64_t{1} << 32));
  const auto rejects_option = [&](const std::string& message, SamplingOptions options) {
    rejects(message, logits, {}, numbers, numbers, options);
  };
  rejects_option("expected a guidance that is finite in float32, got nan", {.guidance = NAN});
  rejects_option("expected a guidance that is finite in float32, got 1e+39", {.guidance = 1e39});
  rejects_option("expected a temperature >= 0 that is finite in float32, got -1",
                 {.temperature = -1.0});
  rejects_option("expected a temperature >= 0 that is finite in float32, got inf",
                 {.temperature = INFINITY});
  rejects_option("expected top_k in 0..8, got 9", {.top_k = 9});
  rejects_option("expected top_k in 0..8, got -1", {.top_k = -1});
  rejects_option("expected top_p above 0 and at most 1, got 0", {.top_p = 0.0});
  rejects_option("expected top_p above 0 and at most 1, got 1.5", {.top_p = 1.5});
  rejects_option("expected top_p above 0 and at most 1, got nan", {.top_p = NAN});
}

}  // namespace
}  // namespace lexel::kernels
