// A mixed-task set learnt by a dense model, by experts routed by token and by experts routed by task, of equal FLOPs a token and
// equal steps, each on one thread. The results are in autoregressive/moe/README.md.
//
// The set: grids of 8 x 8 tokens of 256 codes, of eight kinds, which all models are told (as a class). A token is, with a chance of
// 0.9, what its kind's table says of one neighbour (which one differs by kind: left, above, above left, or two to the left),
// else any code. So there are 8 x 256 facts to learn, and a floor that no model gets below.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <algorithm>
#include <array>
#include <benchmark/benchmark.h>
#include <cmath>
#include <ctime>
#include <vector>

#include "autoregressive/expert_layer.h"
#include "autoregressive/model.h"
#include "kernels/adamw.h"
#include "kernels/philox.h"

namespace lexel::ar {
namespace {

constexpr int64_t kSide = 8, kTokens = kSide * kSide, kCodes = 256, kTasks = 8, kBatch = 32;
constexpr double kRule = 0.9;  // chance of what the table says
constexpr uint64_t kHeldOut = uint64_t{1} << 40;

/// The code that the table of a task gives for a neighbour's.
int64_t fact(int64_t task, int64_t code) {
  Philox random(7, "facts", static_cast<uint64_t>(task * kCodes + code));
  return static_cast<int64_t>(random.uniform_int(kCodes));
}

/// Place of the neighbour that decides token p of a task, or -1.
int64_t neighbour(int64_t task, int64_t p) {
  const int64_t row = p / kSide, column = p % kSide;
  switch (task % 4) {
    case 0:
      return column >= 1 ? p - 1 : -1;
    case 1:
      return row >= 1 ? p - kSide : -1;
    case 2:
      return row >= 1 && column >= 1 ? p - kSide - 1 : -1;
    default:
      return column >= 2 ? p - 2 : -1;
  }
}

struct Batch {
  Condition condition;  // classes; tasks
  at::Tensor tokens;    // (n, 64)
  double floor = 0.0;   // nats a token that are chance
};

/// Pictures number first, first + 1, ...; the task is the number modulo 8.
Batch batch_of(uint64_t first, int64_t count) {
  Batch batch;
  batch.tokens = at::empty({count, kTokens}, at::kLong);
  batch.condition.classes = at::empty({count}, at::kLong);
  auto* tokens = batch.tokens.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i, tokens += kTokens) {
    const uint64_t number = first + static_cast<uint64_t>(i);
    const auto task = static_cast<int64_t>(number % kTasks);
    batch.condition.classes.mutable_data_ptr<int64_t>()[i] = task;
    Philox random(9, "pictures", number);
    for (int64_t p = 0; p < kTokens; ++p) {
      const int64_t from = neighbour(task, p);
      const bool ruled = from >= 0 && random.uniform() < kRule;
      tokens[p] =
          ruled ? fact(task, tokens[from]) : static_cast<int64_t>(random.uniform_int(kCodes));
      const double any = (from >= 0 ? 1.0 - kRule : 1.0) / double(kCodes);
      const bool said = from >= 0 && tokens[p] == fact(task, tokens[from]);
      batch.floor -= std::log(said ? kRule + any : any) / double(count * kTokens);
    }
  }
  batch.condition.tasks = batch.condition.classes;
  return batch;
}

Config config_of(const char* routing) {
  Config config;
  config.text_depth = 0;
  config.classes = kTasks;
  config.depth = 4;
  config.width = 64;
  config.heads = 4;
  config.hidden = 192;  // four layers of it are 768 units a token
  config.grid_height = config.grid_width = kSide;
  config.codebook_size = kCodes;
  if (std::string(routing) == "dense") return config;
  config.hidden = 128;  // two dense layers and two of two experts are 768 too
  config.experts = 8;
  config.routing = routing;
  if (config.routing == "task") config.tasks = kTasks;
  return config;
}

double cpu_s() { return double(std::clock()) / CLOCKS_PER_SEC; }

struct Evaluation {
  double loss = 0.0, floor = 0.0, entropy = 0.0;
};

/// 256 pictures that were not learnt; each token gets both its experts.
Evaluation evaluate(const Model& model) {
  const at::NoGradGuard no_grad;
  const Batch batch = batch_of(kHeldOut, 256);
  ForwardOptions options;
  Evaluation result{token_loss(model, batch.condition, batch.tokens, options).item<double>(),
                    batch.floor, 0.0};
  if (model.config.experts == 0) return result;
  ExpertRecord record;
  options.experts = &record;
  token_loss(model, batch.condition, batch.tokens, options);
  result.entropy = use_entropy(record).item<double>();
  return result;
}

void train(benchmark::State& state, const char* routing, double auxiliary_weight) {
  at::set_num_threads(1);
  for (auto _ : state) {
    Config config = config_of(routing);
    config.auxiliary_weight = auxiliary_weight;
    Model model = make_model(config, 1, at::kCPU);
    const ParameterList list = parameters(model);
    require_gradients(list, true);
    std::vector<kernels::AdamWUpdate> updates;
    for (const Parameter& p : list) {
      const at::Tensor zeros = at::zeros_like(*p.tensor).detach();
      updates.push_back({p.tensor->detach(), {}, zeros, zeros.clone(), {}});
    }
    const int64_t steps = state.range(0);
    double learning_s = 0.0;
    for (int64_t step = 0; step < steps; ++step) {
      const Batch batch = batch_of(uint64_t(step * kBatch), kBatch);
      const double begin_s = cpu_s();
      ExpertRecord record;
      ForwardOptions options;
      options.seed = 1;
      options.step = step;
      options.experts = &record;
      at::Tensor loss = token_loss(model, batch.condition, batch.tokens, options);
      if (record.auxiliary.defined()) loss = loss + auxiliary_weight * record.auxiliary;
      loss.backward();
      const double warm = std::min(1.0, double(step + 1) / 50.0);
      const double rate = 3e-3 * warm * 0.5 * (1.0 + std::cos(M_PI * double(step) / double(steps)));
      for (size_t i = 0; i < list.size(); ++i) {
        updates[i].gradient = list[i].tensor->grad().contiguous();
        updates[i].options = {.learning_rate = rate, .beta2 = 0.98, .step = step + 1};
      }
      kernels::adamw_(updates);
      for (const Parameter& p : list) p.tensor->mutable_grad().reset();
      learning_s += cpu_s() - begin_s;
    }
    require_gradients(list, false);
    const Evaluation found = evaluate(model);
    state.counters["held_out_nats"] = found.loss;
    state.counters["floor_nats"] = found.floor;
    state.counters["expert_entropy"] = found.entropy;
    state.counters["ms_a_step"] = 1e3 * learning_s / double(steps);
    state.counters["parameters"] = double(parameter_count(list));
  }
}

constexpr int64_t kSteps = 1000;

BENCHMARK_CAPTURE(train, dense, "dense", 0.0)->Arg(kSteps)->Iterations(1)->Unit(benchmark::kSecond);
BENCHMARK_CAPTURE(train, by_token, "token", 0.01)
    ->Arg(kSteps)
    ->Iterations(1)
    ->Unit(benchmark::kSecond);
BENCHMARK_CAPTURE(train, by_token_without_auxiliary_loss, "token", 0.0)
    ->Arg(kSteps)
    ->Iterations(1)
    ->Unit(benchmark::kSecond);
BENCHMARK_CAPTURE(train, by_task, "task", 0.01)
    ->Arg(kSteps)
    ->Iterations(1)
    ->Unit(benchmark::kSecond);

}  // namespace
}  // namespace lexel::ar
