#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What `lexel plan` was asked for. Rates are those of an H100 (planner::h100); numbers measured elsewhere go into their places.
struct PlanOptions {
  std::string
      model;  // preset of ar::preset, or the .json of a generator's recipe; empty: parti-3b, with `table` all of Parti
  std::vector<std::string> settings;  // "key=value" of the model's configuration
  std::vector<int64_t> devices;  // one; with `table` several; empty: 8, with `table` 8 to 1,024
  int64_t batch = 8192;          // pictures in a step

  // A plan by hand, to be priced in the place of a search: the mesh, and how it is used.
  std::string mesh;
  int64_t micro_batches = 1;
  std::string schedule = "gpipe";
  int64_t rounds = 1;
  bool rematerialize = false;
  std::string residual = "replicate";

  // The machine.
  double memory = 80e9;              // bytes of a device
  double flops = 395e12;             // a second, of one device
  double memory_bandwidth = 3.0e12;  // bytes a second
  int64_t devices_per_node = 8;
  double bandwidth = 360e9,
         node_bandwidth = 40e9;  // bytes a second of a device: within a node, between nodes
  double latency_us = 10, node_latency_us = 20;
  double overlap = 0.9;  // share of the gradients' exchange that can hide behind the backward pass
  std::string transport = "ring";  // or "gloo": planner::Transport

  // The training.
  std::string compute = "bf16";  // or "fp32"
  double dropout = 0.1;
  double state_bytes = 8;    // of the optimizer for each weight
  int64_t loss_rows = 8192;  // tokens whose logits exist at once

  std::string output;  // plan as JSON; empty: none
  bool table = false;  // many models and numbers of devices
  std::string chart;   // SVG of the table; empty: none
};

/// The fastest plan for a model on some devices (autoregressive/planner/planner.h), or the price of a plan by hand: what it is and
/// what to expect of it, on stdout; as JSON for `lexel train generator --plan`. With `table`, plans of several models on several
/// numbers of devices as a table in Markdown.
///
/// returns  0
/// throws   Error(kUsage) on a model, setting, mesh or batch that cannot be, or where nothing fits; Error(kIo)
int run_plan(const PlanOptions& options);

}  // namespace lexel::cli
