// Two processes of one thread each against one process of one thread: steps of training (forward, backward, AdamW) of a model of 30
// million weights, by pipeline (8 micro-batches), tensor and data axes. Prints a markdown table: ratios of times, what a rank sends,
// and its memory, beside what the planner predicts of them.
//
//   bench_parallel_bench [--modes one,gpipe,...] [--pictures 32] [--steps 3] [--rounds 3] [--compute float32] [--trace FOLDER]
//                        [--fastest] [--bandwidth 1.5e9] [--latency 3e-4] [--memory-bandwidth 1e10]
//
// Each round runs every mode once, so that a machine's slow minutes fall on all of them; a mode's time is the median of all
// its steps but each round's first. Seconds of CPU are those of the busiest rank: on a machine that others use, too, they
// tell what the wall clock does not. Memory is that of tensors, counted by their allocator, and that of the process:
// its peak less what it has when ranks, threads and libraries stand, before there is a model. The planner is given the rate of the one process, and what the mode "link"
// measures in each round (an all-reduce of one number, one of 16 MiB, and a copy of as much by both processes at once), or without it the options.
// --fastest takes the shortest of all times in the place of the median: what is left of a machine that others use.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <sys/resource.h>

#include "apps/train/memory.h"
#include "autoregressive/parallel/timeline.h"
#include "autoregressive/planner/prediction.h"
#include "tests/bench/counting_allocator.h"
#include "tests/bench/rank_processes.h"
#include "tests/bench/training_steps.h"
#include "tests/support/random_tensor.h"

namespace lexel::parallel {
namespace {

using tests::Layout;

constexpr int64_t kMicroBatches = 8;

struct Options {
  std::string modes = "link,one,gpipe,1f1b,circular,tensor,partitioned,data";
  std::string child;  // the mode that this process is a rank of
  std::string compute = "float32";
  std::string trace;  // folder for timelines of the pipeline's modes
  int64_t pictures = 32, steps = 3, rounds = 3;
  bool fastest = false;
  double bandwidth = 1.5e9, latency = 3e-4;  // bytes a second and seconds, of a collective
  double memory_bandwidth = 10e9;            // bytes a second
};

/// 29.6 million weights, of which the blocks have 23.1.
ar::Config config_30m() {
  ar::Config config = ar::parti_lexel_128();
  config.text_depth = 2;
  config.depth = 4;
  config.width = 512;
  config.heads = 8;
  config.hidden = 2048;
  config.text_vocabulary = 10000;
  config.max_text_tokens = 32;
  config.codebook_size = 1024;
  config.conv_layers = "";
  return config;
}

/// A mode of running a step.
struct Mode {
  Layout layout;
  std::string what;  // for the table; empty: no steps, the link is measured
  double target = 0.0;
};

double typical(std::vector<double> values, bool fastest) {
  std::ranges::sort(values);
  return values.empty() ? 0.0 : values[fastest ? 0 : values.size() / 2];
}

/// What a link and the memory take, in seconds: an all-reduce of one number; of a tensor of kLinkBytes an all-reduce, a copy, and what the fully
/// partitioned form does with it: a gathering of tokens, and a sum of which each rank keeps its tokens.
struct LinkTimes {
  double number_s = 0.0, reduce_s = 0.0, copy_s = 0.0, gather_s = 0.0, scatter_s = 0.0;
};
constexpr int64_t kLinkBytes = int64_t{1} << 24;

LinkTimes measure_link(Group& group, bool fastest) {
  // Other tensors each time, so that none is in a cache.
  constexpr int64_t kTimes = 32, kTensors = 16;
  const at::Tensor all = at::zeros({2 * kTensors, 32, 256, kLinkBytes / 4 / 32 / 256});
  at::Tensor one = at::zeros({1});
  const auto time_of = [&](const std::function<void(at::Tensor, at::Tensor)>& work) {
    std::vector<double> times;
    for (int64_t i = 0; i <= kTimes; ++i) {
      const int64_t place = i % kTensors;
      group.barrier();
      const double begin_us = trace_clock_us();
      work(all[2 * place], all[2 * place + 1]);
      if (i > 0) times.push_back(1e-6 * (trace_clock_us() - begin_us));
    }
    return typical(times, fastest);
  };
  LinkTimes times;
  times.number_s = time_of([&](at::Tensor, at::Tensor) { group.all_reduce(one); });
  times.reduce_s = time_of([&](at::Tensor x, at::Tensor) { group.all_reduce(x); });
  times.copy_s = time_of([&](const at::Tensor& x, const at::Tensor& y) { y.copy_(x); });
  times.gather_s = time_of([&](const at::Tensor& x, at::Tensor) {
    const auto part = x.view({2, 32, 128, x.size(2)})[0];  // half of the tokens
    (void)group.all_gather(part, 1);
  });
  times.scatter_s = time_of([&](at::Tensor x, at::Tensor) { (void)group.reduce_scatter(x, 1); });
  return times;
}

const std::vector<std::pair<std::string, Mode>>& modes() {
  static const std::vector<std::pair<std::string, Mode>> all = {
      {"one", {{""}, "one process, the batch in one pass"}},
      {"accumulated", {{"", kMicroBatches}, "one process, 8 micro-batches"}},
      {"gpipe", {{"pipeline=2", kMicroBatches}, "pipeline, GPipe", 1.65}},
      {"1f1b", {{"pipeline=2", kMicroBatches, "1f1b"}, "pipeline, 1F1B", 1.65}},
      {"circular",
       {{"pipeline=2", kMicroBatches, "circular", 2}, "pipeline, circular, 2 rounds", 1.65}},
      {"tensor", {{"tensor=2"}, "tensor, Megatron's form", 1.7}},
      {"partitioned", {{"tensor=2", 1, "gpipe", 1, "split"}, "tensor, fully partitioned", 1.7}},
      {"data", {{"data=2"}, "data, weight-update sharding", 1.8}},
      {"link", {{"tensor=2"}, ""}}};
  return all;
}

const Mode& mode_of(const std::string& name) {
  for (const auto& [key, mode] : modes()) {
    if (key == name) return mode;
  }
  fail(ErrorKind::kUsage, "no mode '", name, "'");
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return double(t.tv_sec) + 1e-6 * double(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// A line of /proc/self/status ("VmHWM": the most this process ever had in memory; "VmRSS": what it has), bytes.
int64_t memory_of_process(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field + ':')) return 1024 * std::stoll(line.substr(field.size() + 1));
  fail(ErrorKind::kIo, "/proc/self/status: no ", field);
}

/// A rank's life: writes its memory, then wall and CPU seconds of each step and what it sent in one.
void run_child(const Options& options) {
  at::set_num_threads(1);
  const tests::CountingAllocator& tensors_memory = tests::CountingAllocator::install();
  train::keep_freed_memory();
  const Mode& mode = mode_of(options.child);
  check(options.compute == "float32" || options.compute == "bfloat16", ErrorKind::kUsage,
        "--compute: expected float32 or bfloat16, got ", options.compute);
  Mesh mesh(world_from_environment(std::chrono::seconds(300)), parse_mesh(mode.layout.mesh),
            at::kCPU);
  if (mode.what.empty()) {
    const LinkTimes times = measure_link(mesh.along("tensor"), options.fastest);
    for (const double time :
         {times.number_s, times.reduce_s, times.copy_s, times.gather_s, times.scatter_s})
      std::cout << time << ' ';
    std::cout << std::endl;
    return mesh.everyone().barrier();
  }
  const ar::ForwardOptions forward{.compute =
                                       options.compute == "float32" ? at::kFloat : at::kBFloat16};
  const at::Tensor warm = tests::random_tensor(1, {64, 64}).requires_grad_();  // loads libraries
  warm.matmul(warm).sum().backward();
  const int64_t empty = memory_of_process("VmRSS");
  const auto draw = [&](const Pipeline& pipeline) {
    if (options.trace.empty()) return;
    Timeline timeline(at::kCPU, mesh.world().rank);
    add_to(timeline, pipeline.events());
    write_chrome_trace(concat(options.trace, "/", options.child, "-", mesh.world().rank, ".json"),
                       timeline.events());
  };
  const auto step =
      tests::start_training(config_30m(), mode.layout, options.pictures, mesh, forward, draw);
  std::ostringstream lines;
  for (int64_t i = 0; i <= options.steps; ++i) {
    mesh.everyone().barrier();
    for (const char* const axis : {"pipeline", "tensor", "data"}) mesh.along(axis).forget_traffic();
    const double begin_us = trace_clock_us(), cpu = cpu_seconds();
    step();
    int64_t bytes = 0;
    for (const char* const axis : {"pipeline", "tensor", "data"}) {
      bytes += mesh.along(axis).traffic().bytes();
    }
    if (i > 0) {
      lines << 1e-6 * (trace_clock_us() - begin_us) << ' ' << cpu_seconds() - cpu << ' ' << bytes
            << '\n';
    }
  }
  std::cout << tensors_memory.peak() << ' ' << memory_of_process("VmHWM") - empty << '\n'
            << lines.str() << std::flush;
  mesh.everyone().barrier();
}

/// Of all ranks and rounds of a mode.
struct Measured {
  std::vector<double> step_s;                                // of the slowest rank of each step
  std::map<size_t, std::pair<double, int64_t>> cpu_s_steps;  // by rank: sum, count
  int64_t bytes = 0;                                         // of the rank that sends most
  std::map<size_t, int64_t> memory, process;  // by rank, the most of all rounds: of tensors, in all
};

void read_ranks(const std::vector<std::string>& texts, Measured& measured) {
  std::vector<double> slowest;
  for (size_t r = 0; r < texts.size(); ++r) {
    std::istringstream lines(texts[r]);
    double wall = 0, cpu = 0;
    int64_t bytes = 0, memory = 0, process = 0;
    lines >> memory >> process;
    measured.memory[r] = std::max(measured.memory[r], memory);
    measured.process[r] = std::max(measured.process[r], process);
    for (size_t i = 0; lines >> wall >> cpu >> bytes; ++i) {
      if (slowest.size() <= i) slowest.resize(i + 1, 0.0);
      slowest[i] = std::max(slowest[i], wall);
      measured.cpu_s_steps[r].first += cpu;
      ++measured.cpu_s_steps[r].second;
      measured.bytes = std::max(measured.bytes, bytes);
    }
  }
  measured.step_s.insert(measured.step_s.end(), slowest.begin(), slowest.end());
}

double busiest(const Measured& measured) {
  double most = 0.0;
  for (const auto& [rank, sum] : measured.cpu_s_steps) {
    most = std::max(most, sum.first / static_cast<double>(sum.second));
  }
  return most;
}

planner::Predictor predictor_of(const Options& options, double flops) {
  planner::Machine machine;
  machine.name = "two processes";
  machine.flops = flops;
  machine.memory_bandwidth = options.memory_bandwidth;
  machine.inside = machine.between = {options.latency, 1.0 / options.bandwidth};
  machine.overlap = 0.0;  // Gloo's threads share the processor
  machine.transport = planner::Transport::kGloo;
  planner::Training training;
  training.batch = options.pictures;
  training.compute_bytes = options.compute == "float32" ? 4 : 2;
  training.dropout = 0.0;
  training.loss_rows = 512;
  return {config_30m(), machine, training};
}

/// FLOP/s at which the planner would predict the time that one process took: a step takes a / rate + b.
double rate_of(const Options& options, const Plan& plan, double measured_s) {
  const double slow = predictor_of(options, 1e11).predict(plan).step_s,
               fast = predictor_of(options, 2e11).predict(plan).step_s;
  const double a = 2e11 * (slow - fast), b = slow - a / 1e11;
  return a / (measured_s - b);
}

/// The options with what the links' times make of them; says what each collective takes and is predicted to.
Options with_links(Options options, const std::vector<LinkTimes>& links) {
  const auto of = [&](double LinkTimes::*time) {
    std::vector<double> all;
    for (const LinkTimes& link : links) all.push_back(link.*time);
    return typical(all, options.fastest);
  };
  constexpr auto kBytes = static_cast<double>(kLinkBytes);
  options.latency = of(&LinkTimes::number_s);
  options.bandwidth = kBytes / (of(&LinkTimes::reduce_s) - options.latency);  // each sends as much
  options.memory_bandwidth = 2 * kBytes / of(&LinkTimes::copy_s);
  const planner::Predictor predictor = predictor_of(options, 1e11);
  const planner::Machine& machine = predictor.machine();
  const auto compare = [&](const planner::GroupCall& call, double LinkTimes::*time) {
    std::cerr << call.collective << " of 16 MiB: " << 1e3 * of(time) << " ms, predicted "
              << 1e3 * planner::group_seconds(machine, machine.inside, call, 2) << '\n';
  };
  compare({"all_gather", kBytes / 2, kBytes, false}, &LinkTimes::gather_s);
  compare({"reduce_scatter", kBytes / 2, kBytes, false}, &LinkTimes::scatter_s);
  return options;
}

void measure(Options options) {
  std::vector<std::string> names;
  std::istringstream list(options.modes);
  for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  std::map<std::string, Measured> all;
  std::vector<LinkTimes> links;
  for (int64_t round = 0; round < options.rounds; ++round) {
    for (const std::string& name : names) {
      std::vector<std::string> arguments = {"--child",    name,
                                            "--steps",    std::to_string(options.steps),
                                            "--pictures", std::to_string(options.pictures),
                                            "--compute",  options.compute,
                                            "--trace",    options.trace};
      if (options.fastest) arguments.emplace_back("--fastest");
      const int64_t ranks = parse_mesh(mode_of(name).layout.mesh).size();
      const std::vector<std::string> texts = tests::run_ranks(ranks, arguments);
      if (!mode_of(name).what.empty()) {
        read_ranks(texts, all[name]);
      } else {
        for (const std::string& text : texts) {
          LinkTimes link;
          std::istringstream(text) >> link.number_s >> link.reduce_s >> link.copy_s >>
              link.gather_s >> link.scatter_s;
          links.push_back(link);
        }
      }
      std::cerr << "round " << round + 1 << ": " << name << " done\n";
    }
  }
  double best = 0.0, best_cpu = 0.0;  // of one process
  Plan best_plan;
  for (const char* const one : {"one", "accumulated"}) {
    if (!all.contains(one)) continue;
    const double time = typical(all[one].step_s, options.fastest);
    if (best == 0.0 || time < best) {
      best = time;
      best_cpu = busiest(all[one]);
      best_plan = tests::plan_of(config_30m(), mode_of(one).layout, options.pictures);
    }
  }
  check(best > 0.0, ErrorKind::kUsage, "--modes: one or accumulated is needed, to compare with");
  if (!links.empty()) options = with_links(options, links);
  const double rate = rate_of(options, best_plan, best);
  const planner::Predictor predictor = predictor_of(options, rate);
  std::cerr << "one process: " << 1e-9 * rate << " GFLOP/s; link: " << 1e-9 * options.bandwidth
            << " GB/s and " << 1e6 * options.latency
            << " us; memory: " << 1e-9 * options.memory_bandwidth << " GB/s\n";
  std::cout
      << "| mode | step, s | ratio | target | CPU s of the busiest rank | ratio of CPU | sent "
         "by a rank, MB | predicted step / measured | tensors of a rank at the peak, MB | "
         "predicted "
         "/ measured | process of a rank, MB |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const std::string& name : names) {
    const Mode& mode = mode_of(name);
    if (mode.what.empty()) continue;
    const double time = typical(all[name].step_s, options.fastest), cpu = busiest(all[name]);
    const Prediction predicted =
        predictor.predict(tests::plan_of(config_30m(), mode.layout, options.pictures));
    std::cout << "| " << mode.what << " | " << std::fixed << std::setprecision(3) << time << " | "
              << std::setprecision(2) << best / time << " | ";
    if (mode.target > 0.0) std::cout << ">= " << mode.target;
    std::cout << " | " << std::setprecision(3) << cpu << " | " << std::setprecision(2)
              << best_cpu / cpu << " | " << std::setprecision(1)
              << 1e-6 * static_cast<double>(all[name].bytes) << " | " << std::setprecision(2)
              << predicted.step_s / time << " |";
    for (const auto& [rank, memory] : all[name].memory)
      std::cout << (rank > 0 ? ", " : " ") << memory / 1'000'000;
    std::cout << " |";
    for (const auto& [rank, memory] : all[name].memory) {
      const RankPrediction& of = predicted.ranks[rank % predicted.ranks.size()];
      std::cout << (rank > 0 ? ", " : " ") << of.memory_bytes / static_cast<double>(memory);
    }
    std::cout << " |";
    for (const auto& [rank, process] : all[name].process)
      std::cout << (rank > 0 ? ", " : " ") << process / 1'000'000;
    std::cout << " |\n";
  }
}

}  // namespace

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Two processes of one thread each against one process of one thread.");
  app.add_option("--modes", options.modes, "Comma-separated")->capture_default_str();
  app.add_option("--pictures", options.pictures, "In a step")->capture_default_str();
  app.add_option("--steps", options.steps, "Measured in a round")->capture_default_str();
  app.add_option("--rounds", options.rounds, "")->capture_default_str();
  app.add_option("--compute", options.compute, "float32 or bfloat16")->capture_default_str();
  app.add_option("--trace", options.trace, "Folder for timelines of the pipeline");
  app.add_option("--bandwidth", options.bandwidth, "Of a link, bytes/s")->capture_default_str();
  app.add_option("--latency", options.latency, "Of a collective, s")->capture_default_str();
  app.add_option("--memory-bandwidth", options.memory_bandwidth, "Of a process, bytes/s")
      ->capture_default_str();
  app.add_flag("--fastest", options.fastest, "The shortest of all times, not the median");
  app.add_option("--child", options.child, "")->group("");
  CLI11_PARSE(app, argc, argv);
  try {
    options.child.empty() ? measure(options) : run_child(options);
    return 0;
  } catch (const Error& error) {
    std::cerr << "parallel_bench: " << error.what() << '\n';
    return error.exit_code();
  }
}

}  // namespace lexel::parallel

int main(int argc, char** argv) { return lexel::parallel::run(argc, argv); }
