// The matrices of one step of a 104M decoder (apps/bench/cases/linear_decode.cpp) as Q8_0 by ggml, what llama.cpp runs on: the peer of
// `lexel bench kernels --kernel linear_decode`. Not part of the build, it needs ggml's source (0.9 or later) and a build of its CPU half:
//
//   git clone https://github.com/ggml-org/ggml && cmake -S ggml -B ggml/build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON
//     -DBUILD_SHARED_LIBS=OFF -DGGML_BUILD_TESTS=OFF -DGGML_BUILD_EXAMPLES=OFF && make -C ggml/build ggml
//   g++ -std=c++20 -O2 -fopenmp -Iggml/include tests/bench/peers/ggml_q8_bench.cpp -o ggml_q8_bench
//     ggml/build/src/libggml.a ggml/build/src/libggml-cpu.a ggml/build/src/libggml-base.a -ldl -lpthread
//   ./ggml_q8_bench THREADS
//
// Try -DGGML_LLAMAFILE=ON too, llama.cpp's default: on a Zen 5 it made batch 16 faster and batch 2 slower.
//
// As a user of llama.cpp has it, all products stand in one graph, computed by one call; weights are repacked for the CPU where
// ggml offers that. With one thread the time is the thread's CPU time, else wall time; best of 20.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <random>
#include <string>
#include <time.h>
#include <utility>
#include <vector>

namespace {

constexpr int64_t kLayers = 10, kWidth = 896, kCodes = 8192;

double clock_s(int threads) {
  timespec now{};
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::vector<std::pair<int64_t, int64_t>> sizes() {  // outputs, inputs
  std::vector<std::pair<int64_t, int64_t>> result;
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    result.insert(
        result.end(),
        {{3 * kWidth, kWidth}, {kWidth, kWidth}, {4 * kWidth, kWidth}, {kWidth, 4 * kWidth}});
  }
  result.emplace_back(kCodes, kWidth);
  return result;
}

/// The CPU's buffer type that repacks weights, or its plain one.
ggml_backend_buffer_type_t weight_buffer(bool repacked) {
  if (repacked) {
    ggml_backend_dev_t const device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    ggml_backend_reg_t const registry = ggml_backend_dev_backend_reg(device);
    const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(registry, "ggml_backend_dev_get_extra_bufts"));
    if (extra != nullptr) {
      ggml_backend_buffer_type_t* types = extra(device);
      for (; types != nullptr && *types != nullptr; ++types) {
        if (std::string(ggml_backend_buft_name(*types)) == "CPU_REPACK") return *types;
      }
    }
    return nullptr;
  }
  return ggml_backend_cpu_buffer_type();
}

double seconds_of_a_step(int64_t batch, int threads, bool repacked) {
  ggml_backend_buffer_type_t const buffer_type = weight_buffer(repacked);
  if (buffer_type == nullptr) return 0.0;
  const ggml_init_params no_memory{ggml_tensor_overhead() * 1024 + ggml_graph_overhead(), nullptr,
                                   true};
  ggml_context* const weights_context = ggml_init(no_memory);
  ggml_context* const context = ggml_init(no_memory);
  ggml_cgraph* const graph = ggml_new_graph(context);
  std::vector<ggml_tensor*> weights, inputs;
  for (const auto& [outputs, columns] : sizes()) {
    weights.push_back(ggml_new_tensor_2d(weights_context, GGML_TYPE_Q8_0, columns, outputs));
  }
  ggml_backend_buffer_t const weight_memory =
      ggml_backend_alloc_ctx_tensors_from_buft(weights_context, buffer_type);
  // Not every processor has code for repacked Q8_0.
  if (repacked && weights.front()->extra == nullptr) return 0.0;
  for (ggml_tensor* const weight : weights) {
    inputs.push_back(ggml_new_tensor_2d(context, GGML_TYPE_F32, weight->ne[0], batch));
    ggml_set_input(inputs.back());
    ggml_tensor* const product = ggml_mul_mat(context, weight, inputs.back());
    ggml_set_output(product);
    ggml_build_forward_expand(graph, product);
  }
  ggml_backend_t const backend = ggml_backend_cpu_init();
  ggml_backend_cpu_set_n_threads(backend, threads);
  ggml_backend_buffer_t const memory = ggml_backend_alloc_ctx_tensors(context, backend);

  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  for (ggml_tensor* const weight : weights) {
    const int64_t columns = weight->ne[0], outputs = weight->ne[1];
    std::vector<float> values(static_cast<size_t>(columns * outputs));
    for (float& value : values) value = normal(random);
    std::vector<char> packed(ggml_nbytes(weight));
    ggml_quantize_chunk(GGML_TYPE_Q8_0, values.data(), packed.data(), 0, outputs, columns, nullptr);
    ggml_backend_tensor_set(weight, packed.data(), 0, packed.size());
  }
  for (ggml_tensor* const input : inputs) {
    std::vector<float> values(static_cast<size_t>(ggml_nelements(input)));
    for (float& value : values) value = normal(random);
    ggml_backend_tensor_set(input, values.data(), 0, ggml_nbytes(input));
  }

  double best = 1e9;
  for (int run = 0; run < 22; ++run) {
    const double start = clock_s(threads);
    ggml_backend_graph_compute(backend, graph);
    if (run >= 2) best = std::min(best, clock_s(threads) - start);
  }
  ggml_backend_buffer_free(memory);
  ggml_backend_buffer_free(weight_memory);
  ggml_backend_free(backend);
  ggml_free(context);
  ggml_free(weights_context);
  return best;
}

}  // namespace

int main(int count, char** arguments) {
  const int threads = count > 1 ? std::atoi(arguments[1]) : 1;
  if (threads < 1) {
    std::fprintf(stderr, "ggml_q8_bench: expected a number of threads, got %s\n", arguments[1]);
    return 2;
  }
  double weights = 0.0;
  for (const auto& [outputs, columns] : sizes()) weights += static_cast<double>(outputs * columns);
  for (const int64_t batch : {1, 2, 16}) {
    for (const bool repacked : {false, true}) {
      const double seconds = seconds_of_a_step(batch, threads, repacked);
      if (seconds == 0.0) continue;
      std::printf("ggml Q8_0%s, stack of 104M, batch %d, threads %d: %.3f ms, %.1f GB/s\n",
                  repacked ? ", repacked" : "", static_cast<int>(batch), threads, seconds * 1e3,
                  weights * 34 / 32 / seconds * 1e-9);
    }
  }
  return 0;
}
