// Drawing on a GPU, emulated: the same steps by the CUDA kernels, one call each.
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>
#include <vector>

#include "autoregressive/generate.h"
#include "tests/autoregressive/tiny_model.h"
#include "tests/support/emulated_cuda.h"

namespace lexel::ar {
namespace {

/// Logits of 12 steps, the first 4 tokens given at once.
at::Tensor steps(const Model& model, const Condition& condition, const at::Tensor& tokens) {
  const PackedModel packed = pack(model, kernels::WeightFormat::kInt8);
  Decoder decoder(packed, tokens.size(0), at::kBFloat16);
  std::vector<at::Tensor> logits{decoder.start(condition, tokens.slice(1, 0, 4))};
  for (int64_t p = 4; p < 15; ++p) logits.push_back(decoder.step(tokens.select(1, p)));
  return at::stack(logits, 1);
}

TEST(DecodeCuda, StepsAreNearThoseOfTheCpu) {
  for (const Config& config : {tests::tiny_parti(), tests::tiny_vim()}) {
    Model model = make_model(config, 1, at::kCPU);
    tests::fill_zeros(model);
    const Condition condition = tests::tiny_condition(config, 2);
    const at::Tensor tokens = tests::tiny_tokens(config, 2);
    const at::Tensor wanted = steps(model, condition, tokens);
    const tests::OnEmulatedCuda emulated;
    // A key near the middle of two bfloat16 numbers may fall to either.
    EXPECT_LT(tests::relative_difference(steps(model, condition, tokens), wanted), 2e-3);
  }
}

TEST(DecodeCuda, APictureIsTheSameAloneAndInABatch) {
  Model model = make_model(tests::tiny_vim(), 1, at::kCPU);
  tests::fill_zeros(model);
  const tests::OnEmulatedCuda emulated;
  const PackedModel packed = pack(model, kernels::WeightFormat::kInt8);
  Condition condition, none;
  condition.classes = tests::random_ids(1, {3}, 3);
  none.classes = at::full({1}, 3, at::kLong);
  GenerateOptions options;
  options.guidance = 2.0;
  const auto stop = [](int64_t done, const at::Tensor& tokens) {
    return done < 8 * tokens.size(0);
  };
  const at::Tensor numbers = at::arange(3, at::kLong);
  const at::Tensor all = generate(packed, condition, none, numbers, options, {}, stop).tokens;
  condition.classes = condition.classes.slice(0, 1, 2);
  const at::Tensor alone =
      generate(packed, condition, none, numbers.slice(0, 1, 2), options, {}, stop).tokens;
  EXPECT_TRUE(at::equal(alone, all.slice(0, 1, 2)));
  EXPECT_EQ(all.ge(0).sum().item<int64_t>(), 24);
}

}  // namespace
}  // namespace lexel::ar
