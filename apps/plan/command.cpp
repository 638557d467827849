#include "apps/plan/command.h"

#include <map>

#include "apps/command_line.h"

namespace lexel::cli {
namespace {

/// A number that may end in a unit: 80GB, 395T.
CLI::Option* add_amount(CLI::App& plan, const char* name, double& amount, const char* help,
                        const char* text) {
  static const std::map<std::string, double> units = {
      {"k", 1e3},  {"M", 1e6},  {"G", 1e9},  {"T", 1e12},  {"P", 1e15},
      {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15}};
  return plan.add_option(name, amount, help)
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::CASE_SENSITIVE))
      ->check(number_from(1, 1e21))
      ->option_text(text);
}

void define_machine(CLI::App& plan, PlanOptions& options) {
  add_amount(plan, "--memory", options.memory, "Of a device", "BYTES [80GB]");
  add_amount(plan, "--flops", options.flops,
             "A second that training's matrix products reach on one", "N [395T]");
  add_amount(plan, "--memory-bandwidth", options.memory_bandwidth, "Of a device, a second",
             "BYTES [3TB]");
  plan.add_option("--devices-per-node", options.devices_per_node, "That the fast link joins")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->option_text("N [8]");
  add_amount(plan, "--bandwidth", options.bandwidth, "Of a device within a node, a second",
             "BYTES [360GB]");
  add_amount(plan, "--node-bandwidth", options.node_bandwidth, "Of a device between nodes",
             "BYTES [40GB]");
  plan.add_option("--latency", options.latency_us, "Of a message within a node, microseconds")
      ->check(number_from(0, 1e9))
      ->option_text("US [10]");
  plan.add_option("--node-latency", options.node_latency_us, "Between nodes, microseconds")
      ->check(number_from(0, 1e9))
      ->option_text("US [20]");
  plan.add_option("--overlap", options.overlap,
                  "Share of the gradients' exchange that can hide behind the backward pass")
      ->check(number_from(0, 1))
      ->option_text("SHARE [0.9]");
  plan.add_option(
          "--transport", options.transport,
          "What carries collectives: ring (NCCL, MPI), or gloo, which reduces whole tensors")
      ->check(CLI::IsMember({"ring", "gloo"}))
      ->option_text("NAME [ring]");
}

void define_by_hand(CLI::App& plan, PlanOptions& options) {
  CLI::Option* mesh =
      plan.add_option("--mesh", options.mesh, "Price this mesh in the place of a search")
          ->option_text("AXIS=N,...");
  plan.add_option("--micro-batches", options.micro_batches, "Of a step")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->option_text("N [1]")
      ->needs(mesh);
  plan.add_option("--schedule", options.schedule, "Of the pipeline: gpipe, 1f1b or circular")
      ->check(CLI::IsMember({"gpipe", "1f1b", "circular"}))
      ->option_text("NAME [gpipe]")
      ->needs(mesh);
  plan.add_option("--rounds", options.rounds, "Of a circular pipeline")
      ->check(CLI::Range(int64_t{1}, int64_t{256}))
      ->option_text("N [1]")
      ->needs(mesh);
  plan.add_flag("--rematerialize", options.rematerialize, "Blocks computed again")->needs(mesh);
  plan.add_option("--residual", options.residual,
                  "Residual stream over the axis tensor: replicate or split")
      ->check(CLI::IsMember({"replicate", "split"}))
      ->option_text("HOW [replicate]")
      ->needs(mesh);
}

}  // namespace

void define_plan(CLI::App& lexel, PlanOptions& options) {
  CLI::App* plan = lexel.add_subcommand(
      "plan", "The fastest way to train a generator on many devices, predicted");
  plan->add_option("--model", options.model,
                   "parti-350m, parti-750m, parti-3b, parti-20b, vim-base, glam-1.7b-64e, ...; or "
                   "a recipe's: FILE.json")
      ->option_text("NAME|FILE [parti-3b]");
  plan->add_option("--set", options.settings, "A field of its configuration, as in recipes")
      ->allow_extra_args(false)
      ->option_text("KEY=VALUE");
  plan->add_option("--devices", options.devices, "All are used; several with --table")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->option_text("N [8]");
  plan->add_option("--batch", options.batch, "Pictures in a step, of all devices")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->option_text("N [8192]");
  plan->add_option("--compute", options.compute, "Values of matrix products: bf16 or fp32")
      ->check(CLI::IsMember({"bf16", "fp32"}))
      ->option_text("DTYPE [bf16]");
  plan->add_option("--dropout", options.dropout, "Its masks take memory; 0 has none")
      ->check(number_from(0, 0.99))
      ->option_text("RATE [0.1]");
  plan->add_option("--state-bytes", options.state_bytes, "Of the optimizer for each weight")
      ->check(number_from(0, 64))
      ->option_text("N [8]");
  plan->add_option("--loss-rows", options.loss_rows,
                   "Tokens whose logits exist at once: 8192 on a GPU, 512 on a CPU")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->option_text("N [8192]");
  define_machine(*plan, options);
  define_by_hand(*plan, options);
  CLI::Option* output =
      plan->add_option("-o,--output", options.output, "Plan to write, for lexel train --plan")
          ->option_text("FILE");
  CLI::Option* table = plan->add_flag("--table", options.table,
                                      "Many models and numbers of devices, as a table in Markdown")
                           ->excludes(output)
                           ->excludes(plan->get_option("--mesh"));
  plan->add_option("--chart", options.chart, "Draw the table's throughput")
      ->option_text("FILE.svg")
      ->needs(table);
  plan->footer(
      "Rates are of an H100 and its usual links; give those of your machine, or measured ones.\n"
      "Example: lexel plan --model parti-3b --devices 64 --memory 80GB -o plan.json");
}

}  // namespace lexel::cli
