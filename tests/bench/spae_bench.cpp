// What words cost: a batch through SPAE's encoder alone, and through encoder and quantizer. The presets with random weights and
// 5,452 random words. Numbers: spae/README.md.
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include "spae/model.h"

namespace {

namespace spae = lexel::spae;

spae::Model random_model(const std::string& preset) {
  spae::Config config = spae::preset(preset);
  if (preset == "spae-128") config.code_width = 8;  // as the shipped model has it
  config.feature_width = 0;                         // the eye is another network
  spae::LexicalCodebook words;
  for (int64_t k = 0; k < config.num_words; ++k) words.words.push_back("w" + std::to_string(k));
  words.ids = at::arange(config.num_words, at::kLong);
  words.codes = spae::unit_rows(at::randn({config.num_words, config.code_width}));
  return spae::make_model(config, words, 1, at::kCPU);
}

void run(benchmark::State& state, const std::string& preset, bool words) {
  const at::NoGradGuard no_grad;
  at::set_num_threads(1);
  const spae::Model model = random_model(preset);
  const int64_t batch = state.range(0), size = model.config.image_size;
  const at::Tensor images = at::rand({batch, 3, size, size});
  for (auto _ : state) {
    benchmark::DoNotOptimize(words ? spae::encode(model, images)
                                   : spae::encode_latents(model, images, {}, at::kFloat));
  }
  state.SetItemsProcessed(state.iterations() * batch);
}

BENCHMARK_CAPTURE(run, spae_128_network, "spae-128", false)->Arg(16)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(run, spae_128_words, "spae-128", true)->Arg(16)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(run, spae_6_network, "spae-6", false)->Arg(1)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(run, spae_6_words, "spae-6", true)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
