#include "kernels/adafactor.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "tests/support/every_path.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::on_every_path;
using tests::on_every_target;
using tests::random_tensor;
using tests::relative_difference;
using Shape = std::vector<int64_t>;

TEST(AdafactorReference, TwoStepsByHand) {
  const at::Tensor w = at::tensor({1.0f, 1.0f, 1.0f, 1.0f}).reshape({2, 2});
  const at::Tensor g = at::tensor({1.0f, 1.0f, 2.0f, 4.0f}).reshape({2, 2});
  AdafactorState state = make_adafactor_state(w, false);
  AdafactorOptions options{
      .learning_rate = 0.1, .beta1 = 0.5, .beta2 = 0.5, .clip_threshold = 0, .weight_decay = 0.2};
  adafactor_reference_(w, g, state, options);
  // Squares 1 1 4 16: rows 1, 10; columns 2.5, 8.5; mean row 5.5.
  EXPECT_FLOAT_EQ(state.row_factor[1].item<float>(), 10);
  EXPECT_FLOAT_EQ(state.column_factor[0].item<float>(), 2.5);
  const double u = 4 / std::sqrt(10 * 8.5 / 5.5);
  EXPECT_FLOAT_EQ(state.first_moment[1][1].item<float>(), static_cast<float>(0.5 * u));
  EXPECT_FLOAT_EQ(w[1][1].item<float>(), static_cast<float>(0.98 - 0.1 * 0.5 * u));
  options.step = 2;  // beta2 0.5 (1 - 0.5) / (1 - 0.25) = 1/3
  adafactor_reference_(w, at::zeros({2, 2}), state, options);
  EXPECT_FLOAT_EQ(state.row_factor[1].item<float>(), 10.0f / 3);
}

TEST(AdafactorReference, ClipsTheRootMeanSquare) {
  const at::Tensor w = at::zeros({1, 4});
  AdafactorState state = make_adafactor_state(w, false);
  // One row at step 1: u = g / |g|, each 1; a threshold of 0.25 leaves a quarter of it.
  adafactor_reference_(w, at::full({1, 4}, 3.0), state,
                       {.learning_rate = 1, .beta1 = 0, .clip_threshold = 0.25, .weight_decay = 0});
  EXPECT_FLOAT_EQ(w[0][2].item<float>(), -0.25f);
}

TEST(AdafactorReference, RoundsTheFirstMomentToInt8) {
  const at::Tensor w = at::zeros({130});
  AdafactorState state = make_adafactor_state(w, true);
  at::Tensor g = at::zeros({130});
  g[0] = 1.0;
  g[1] = -1.0;
  g[129] = 1e-3;
  adafactor_reference_(w, g, state, {.beta1 = 0, .clip_threshold = 0});
  EXPECT_EQ(state.first_scales.numel(), 2);
  EXPECT_EQ(state.first_moment[0].item<int>(), 127);
  EXPECT_EQ(state.first_moment[1].item<int>(), -127);
  EXPECT_EQ(state.first_moment[2].item<int>(), 0);
  EXPECT_EQ(state.first_moment[129].item<int>(), 127);  // its own block's scale
  EXPECT_FLOAT_EQ(state.first_scales[1].item<float>(), 1.0f / 127);
}

/// First moment in float64, unpacked.
at::Tensor moment_of(const AdafactorState& state) {
  at::Tensor m = state.first_moment.to(at::kDouble);
  if (!state.first_scales.defined()) return m;
  const at::Tensor scales = state.first_scales.to(at::kDouble).repeat_interleave(128);
  return m * scales.narrow(0, 0, m.numel()).reshape(m.sizes());
}

void expect_reference(const Shape& shape, bool int8, double clip, at::Device device) {
  SCOPED_TRACE(testing::Message() << at::IntArrayRef(shape) << " int8 " << int8 << " clip "
                                  << clip);
  const at::Tensor w = random_tensor(1, shape).to(device), wanted = w.clone();
  AdafactorState state = make_adafactor_state(w, int8),
                 wanted_state = make_adafactor_state(w, int8);
  for (int64_t step = 1; step <= 4; ++step) {
    const at::Tensor g = random_tensor(10 + static_cast<uint64_t>(step), shape).to(device);
    const AdafactorOptions options{
        .learning_rate = 0.01, .clip_threshold = clip, .gradient_scale = 0.7, .step = step};
    adafactor_(w, g, state, options);
    adafactor_reference_(wanted, g, wanted_state, options);
  }
  if (w.numel() == 0) return;
  // Sums in float32 of at most 1024 squares a tile lose at most 1024 2^-24 = 6e-5, in practice a tenth of it; the factors
  // enter u under a square root. An int8 moment at a tie may go the other way: half a scale, 1/254 of the block's largest,
  // times the rate 0.01.
  EXPECT_LT(relative_difference(state.row_factor, wanted_state.row_factor), 6e-6);
  EXPECT_LT(relative_difference(state.column_factor, wanted_state.column_factor), 6e-6);
  EXPECT_LT(relative_difference(moment_of(state), moment_of(wanted_state)), int8 ? 2e-2 : 6e-6);
  EXPECT_LT(relative_difference(w, wanted), int8 ? 1e-4 : 1e-6);
  if (int8) {  // flips of the rounding are rare
    const at::Tensor flips = state.first_moment.ne(wanted_state.first_moment);
    EXPECT_LE(flips.sum().item<int64_t>(), 1 + w.numel() / 500);
  }
}

TEST(Adafactor, IsTheReferenceOverAFewSteps) {
  on_every_path([](at::Device device) {
    for (const Shape& shape :
         {Shape{0}, Shape{}, Shape{1}, Shape{5}, Shape{1000}, Shape{3, 0}, Shape{7, 3},
          Shape{33, 130}, Shape{4, 5, 3, 3}, Shape{256, 128}, Shape{130, 201}, Shape{3, 5000}}) {
      for (const bool int8 : {false, true}) {
        expect_reference(shape, int8, 1.0, device);
        expect_reference(shape, int8, 0.3, device);
      }
      expect_reference(shape, false, 0.0, device);
    }
  });
}

/// Steps of a matrix in parts of `counts` along dimension `dim`, what the stages find added up by hand, beside those of the whole.
void expect_parts_are_the_whole(const Shape& shape, int64_t dim, const Shape& counts, bool int8,
                                double clip, at::Device device) {
  SCOPED_TRACE(testing::Message() << at::IntArrayRef(shape) << " cut along " << dim << " into "
                                  << at::IntArrayRef(counts) << " int8 " << int8 << " clip "
                                  << clip);
  const at::Tensor wanted = random_tensor(1, shape).to(device);
  AdafactorState wanted_state = make_adafactor_state(wanted, int8);
  const auto cut = [&](const at::Tensor& whole) {
    std::vector<at::Tensor> parts;
    for (const at::Tensor& part : whole.split_with_sizes(counts, dim))
      parts.push_back(part.contiguous().clone());
    return parts;
  };
  const std::vector<at::Tensor> weights = cut(wanted);
  std::vector<AdafactorState> states;
  for (const at::Tensor& w : weights) states.push_back(make_adafactor_state(w, int8));
  const bool is_vector = shape.size() == 1, by_rows = dim == 0 && !is_vector;
  const AdafactorWhole whole{is_vector ? 1 : shape[0], shape.back()};
  for (int64_t step = 1; step <= 4; ++step) {
    const at::Tensor g = random_tensor(10 + static_cast<uint64_t>(step), shape).to(device);
    const AdafactorOptions options{
        .learning_rate = 0.01, .clip_threshold = clip, .gradient_scale = 0.7, .step = step};
    adafactor_reference_(wanted, g, wanted_state, options);
    const std::vector<at::Tensor> gradients = cut(g);
    const auto add_up = [](std::vector<at::Tensor> values) {  // in place
      at::Tensor sum = at::zeros_like(values[0]);
      for (const at::Tensor& value : values) sum += value;
      for (const at::Tensor& value : values) value.copy_(sum);
    };
    std::vector<at::Tensor> squares, shared, totals;
    for (const at::Tensor& gradient : gradients) {
      squares.push_back(adafactor_squares(gradient));
      const int64_t rows = squares.back().numel() - gradient.size(-1);
      shared.push_back(by_rows ? squares.back().narrow(0, rows, gradient.size(-1))
                               : squares.back().narrow(0, 0, rows));
    }
    add_up(shared);
    shared.clear();
    for (size_t i = 0; i < weights.size(); ++i) {
      totals.push_back(adafactor_factors_(gradients[i], squares[i], states[i], whole, options));
      shared.push_back(by_rows ? totals.back() : totals.back().narrow(0, 1, 1));
    }
    add_up(shared);
    for (size_t i = 0; i < weights.size(); ++i)
      adafactor_update_(weights[i], gradients[i], totals[i], states[i], whole, options);
  }
  std::vector<at::Tensor> moments, rows, columns;
  for (size_t i = 0; i < weights.size(); ++i) {
    moments.push_back(moment_of(states[i]));
    rows.push_back(states[i].row_factor);
    columns.push_back(states[i].column_factor);
  }
  EXPECT_LT(relative_difference(at::cat(weights, dim), wanted), int8 ? 1e-4 : 1e-6);
  EXPECT_LT(relative_difference(at::cat(moments, dim), moment_of(wanted_state)),
            int8 ? 2e-2 : 6e-6);
  EXPECT_LT(relative_difference(by_rows ? at::cat(rows) : rows[0], wanted_state.row_factor), 6e-6);
  EXPECT_LT(
      relative_difference(by_rows ? columns[0] : at::cat(columns), wanted_state.column_factor),
      6e-6);
}

TEST(Adafactor, StagesOfPartsAreTheStepOfTheWhole) {
  on_every_path([](at::Device device) {
    for (const double clip : {1.0, 0.3, 0.0}) {
      expect_parts_are_the_whole({33, 130}, 0, {33}, false, clip, device);
      expect_parts_are_the_whole({33, 130}, 0, {1, 20, 12}, false, clip, device);
      expect_parts_are_the_whole({33, 130}, 1, {65, 65}, false, clip, device);
      expect_parts_are_the_whole({1000}, 0, {500, 500}, false, clip, device);
      // Blocks of 128 weights are those of the whole.
      expect_parts_are_the_whole({64, 256}, 1, {128, 128}, true, clip, device);
      expect_parts_are_the_whole({64, 96}, 0, {16, 48}, true, clip, device);
    }
    expect_parts_are_the_whole({64, 5000}, 0, {32, 32}, true, 1.0, device);
  });
}

TEST(Adafactor, ThreadsDoNotChangeBits) {
  const auto run = [](const Shape& shape, bool int8, int threads) {
    at::set_num_threads(threads);
    const at::Tensor w = random_tensor(1, shape);
    AdafactorState state = make_adafactor_state(w, int8);
    for (int64_t step = 1; step <= 2; ++step) {
      adafactor_(w, random_tensor(static_cast<uint64_t>(step), shape), state,
                 {.clip_threshold = 0.5, .step = step});
    }
    at::set_num_threads(1);
    return w;
  };
  on_every_target([&] {
    for (const Shape& shape : {Shape{700, 513}, Shape{40000}, Shape{3, 9000}}) {
      for (const bool int8 : {false, true}) {
        EXPECT_TRUE(at::equal(run(shape, int8, 1), run(shape, int8, 3)));
      }
    }
  });
}

TEST(Adafactor, AGradientThatIsNotFiniteSpoilsTheTensor) {
  on_every_path([](at::Device device) {
    for (const bool int8 : {false, true}) {
      for (const double clip : {0.0, 1.0}) {
        for (const float bad : {NAN, INFINITY}) {
          const at::Tensor w = random_tensor(1, {20, 30}).to(device);
          AdafactorState state = make_adafactor_state(w, int8);
          at::Tensor g = random_tensor(2, {20, 30}).to(device);
          g[3][4] = bad;
          adafactor_(w, g, state, {.clip_threshold = clip});
          EXPECT_EQ(w.isfinite().sum().item<int64_t>(), 0);
          EXPECT_EQ(moment_of(state).isfinite().sum().item<int64_t>(), 0);
        }
      }
    }
  });
}

TEST(Adafactor, ZeroGradientsLeaveOnlyDecay) {
  on_every_path([](at::Device device) {
    const at::Tensor w = at::full({4, 40}, 2.0, device);
    AdafactorState state = make_adafactor_state(w, true);
    adafactor_(w, at::zeros({4, 40}, device), state, {.learning_rate = 0.1, .weight_decay = 0.5});
    // 1 - 0.1 * 0.5 in float32, times 2.
    EXPECT_TRUE(at::equal(w, at::full({4, 40}, 2.0f * 0.95f, device)));
    EXPECT_EQ(state.first_moment.ne(0).sum().item<int64_t>(), 0);
  });
}

TEST(AdafactorArguments, AreChecked) {
  const at::Tensor w = at::zeros({2, 3});
  AdafactorState state = make_adafactor_state(w, false);
  const auto rejects = [&](const char* text, const at::Tensor& gradient, AdafactorState changed,
                           const AdafactorOptions& options) {
    expect_error(ErrorKind::kUsage, text, [&] { adafactor_(w, gradient, changed, options); });
  };
  rejects("expected a step of at least 1, got 0", w, state, {.step = 0});
  rejects("expected clip_threshold >= 0, got -1", w, state, {.clip_threshold = -1});
  rejects("expected gradient of Float, got Double", w.to(at::kDouble), state, {});
  rejects("expected gradient of shape [2, 3], got [3, 2]", at::zeros({3, 2}), state, {});
  rejects("expected contiguous gradient", at::zeros({3, 2}).t(), state, {});
  AdafactorState changed = state;
  changed.row_factor = at::zeros({3});
  rejects("expected row_factor of shape [2], got [3]", w, changed, {});
  changed = state;
  changed.first_moment = w.to(at::kChar);
  rejects("expected first_scales", w, changed, {});
  const at::Tensor two = at::zeros({2}, at::kDouble), five = at::zeros({5}, at::kDouble);
  expect_error(ErrorKind::kUsage, "expected gradient of Float, got Double",
               [&] { adafactor_squares(w.to(at::kDouble)); });
  expect_error(ErrorKind::kUsage, "expected squares of shape [5], got [2]", [&] {
    adafactor_factors_(w, two, state, {2, 3}, {});
  });
  expect_error(ErrorKind::kUsage, "expected a part of a matrix of 2 x 2, got [2, 3]", [&] {
    adafactor_factors_(w, five, state, {2, 2}, {});
  });
  expect_error(ErrorKind::kUsage, "expected totals of shape [2], got [5]", [&] {
    adafactor_update_(w, w, five, state, {2, 3}, {});
  });
  expect_error(ErrorKind::kUsage, "expected float32 weights",
               [] { make_adafactor_state(at::zeros({2}, at::kDouble), false); });
}

}  // namespace
}  // namespace lexel::kernels
