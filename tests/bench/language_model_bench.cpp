// SmolLM2-135M-Instruct (lexel data fetch smollm2; run from the root) on one thread: prompts read at once, then one token after
// another. tests/bench/peers/llama_cpp.py times llama.cpp on the same in one run with this.
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <filesystem>
#include <memory>

#include "autoregressive/llama.h"
#include "tokenizers/io/gguf.h"

namespace lexel::ar {
namespace {

constexpr char kPath[] = "data/smollm2-135m-instruct-q4_1.gguf";

const PackedLlama* model(LlamaPrecision precision) {
  static std::unique_ptr<const PackedLlama> models[2];
  std::unique_ptr<const PackedLlama>& found = models[precision == LlamaPrecision::kFast];
  if (!found && std::filesystem::exists(kPath))
    found = std::make_unique<const PackedLlama>(pack(load_llama(GgufFile(kPath)), precision));
  return found.get();
}

std::vector<int64_t> text(int64_t count) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(100 + i * 37 % 40'000);
  return ids;
}

void read_prompt(benchmark::State& state, LlamaPrecision precision) {
  at::set_num_threads(1);
  const PackedLlama* const packed = model(precision);
  if (packed == nullptr) return state.SkipWithError("no model: lexel data fetch smollm2");
  const int64_t count = state.range(0);
  LlamaDecoder decoder(*packed, count);
  for (auto _ : state) {
    decoder.rewind(0);
    benchmark::DoNotOptimize(decoder.feed(text(count)));
  }
  state.counters["tokens_per_s"] = benchmark::Counter(
      static_cast<double>(count * state.iterations()), benchmark::Counter::kIsRate);
}

void write_token(benchmark::State& state, LlamaPrecision precision) {
  at::set_num_threads(1);
  const PackedLlama* const packed = model(precision);
  if (packed == nullptr) return state.SkipWithError("no model: lexel data fetch smollm2");
  const int64_t before = 128, room = 256;
  LlamaDecoder decoder(*packed, room);
  decoder.feed(text(before));
  for (auto _ : state) {
    if (decoder.length() == room) decoder.rewind(before);
    benchmark::DoNotOptimize(decoder.feed({1000}));
  }
  state.counters["tokens_per_s"] =
      benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

BENCHMARK_CAPTURE(read_prompt, fast, LlamaPrecision::kFast)
    ->Arg(128)
    ->Arg(512)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(write_token, fast, LlamaPrecision::kFast)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(read_prompt, float32, LlamaPrecision::kFloat32)
    ->Arg(128)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(write_token, float32, LlamaPrecision::kFloat32)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lexel::ar
