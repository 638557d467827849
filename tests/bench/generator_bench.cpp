// Training steps of parti-lexel-128, forward and backward without the optimizer, on one thread. CPU time a step on a Zen 5
// with AVX-512 BF16, memory kept as the trainer keeps it: bfloat16 0.84 s (525 GFLOP/s in the products, which are half of it),
// float32 2.6 s.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <benchmark/benchmark.h>

#include "autoregressive/model.h"
#include "tests/support/random_tensor.h"

namespace lexel::ar {
namespace {

/// One picture with its caption a row, all of parti-lexel-128.
void train_step(benchmark::State& state, at::ScalarType compute, double dropout,
                const char* activation, bool rematerialize) {
  at::set_num_threads(1);
  Config config = parti_lexel_128();
  config.activation = activation;
  Model model = make_model(config, 1, at::kCPU);
  const ParameterList list = parameters(model);
  require_gradients(list, true);
  const int64_t batch = 16, count = config.grid_height * config.grid_width;
  Condition condition;
  condition.text = tests::random_ids(1, {batch, config.max_text_tokens}, config.text_vocabulary);
  condition.lengths = tests::random_ids(2, {batch}, 24) + 4;
  const at::Tensor tokens = tests::random_ids(3, {batch, count}, config.codebook_size);
  ForwardOptions options{.compute = compute, .dropout = dropout, .rematerialize = rematerialize};
  for (auto _ : state) {
    token_loss(model, condition, tokens, options).backward();
    for (const Parameter& p : list) p.tensor->mutable_grad().reset();
    ++options.step;
  }
  state.counters["pictures_per_s"] = benchmark::Counter(
      static_cast<double>(batch * state.iterations()), benchmark::Counter::kIsRate);
}

BENCHMARK_CAPTURE(train_step, float32, at::kFloat, 0.0, "gelu", false)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(train_step, bfloat16, at::kBFloat16, 0.0, "gelu", false)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(train_step, bfloat16_relu, at::kBFloat16, 0.0, "relu", false)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(train_step, bfloat16_dropout, at::kBFloat16, 0.1, "gelu", false)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(train_step, bfloat16_rematerialized, at::kBFloat16, 0.0, "gelu", true)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lexel::ar
