#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "apps/plan/options.h"
#include "apps/plan/scaling_chart.h"
#include "apps/spool.h"
#include "apps/train/generator/recipe.h"
#include "apps/train/recipe_fields.h"
#include "autoregressive/planner/planner.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/fields_json.h"

namespace lexel::cli {
namespace {

using parallel::Plan;

planner::Machine machine_of(const PlanOptions& options) {
  planner::Machine machine;
  machine.memory_bytes = options.memory;
  machine.flops = options.flops;
  machine.memory_bandwidth = options.memory_bandwidth;
  machine.devices_per_node = options.devices_per_node;
  machine.inside = {options.latency_us * 1e-6, 1 / options.bandwidth};
  machine.between = {options.node_latency_us * 1e-6, 1 / options.node_bandwidth};
  machine.overlap = options.overlap;
  if (options.transport == "gloo") machine.transport = planner::Transport::kGloo;
  return machine;
}

planner::Training training_of(const PlanOptions& options) {
  planner::Training training;
  training.batch = options.batch;
  training.compute_bytes = options.compute == "bf16" ? 2 : 4;
  training.dropout = options.dropout;
  training.state_bytes = options.state_bytes;
  training.loss_rows = options.loss_rows;
  return training;
}

/// A preset, or the model of a generator's recipe, with --set KEY=VALUE on top.
ar::Config config_of(const std::string& model, const std::vector<std::string>& settings) {
  ar::Config config = model.ends_with(".json")
                          ? train::recipe_fields::read<train::GeneratorRecipe>(model).model
                          : ar::preset(model);
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    const std::string key = setting.substr(0, equals);
    check_arg(equals != std::string::npos, "--set", "expected KEY=VALUE, got ", setting);
    bool known = false;
    visit_fields(config, [&](const std::string& name, auto& field) {
      if (name != key) return;
      known = true;
      using Field = std::remove_reference_t<decltype(field)>;
      const std::string value = setting.substr(equals + 1);
      if constexpr (std::is_same_v<Field, std::string>) {
        field = value;
      } else {
        const auto json = nlohmann::json::parse(value, nullptr, /*allow_exceptions=*/false);
        try {
          fields_json::read_field(json, "--set", key, field);
        } catch (const Error& error) {  // from the command line it is a wrong argument
          fail(ErrorKind::kUsage, error.what());
        }
      }
    });
    check_arg(known, "--set", "expected a field of the model's configuration, got ", key);
  }
  ar::validate(config);
  return config;
}

/// 1.23e10 as "12.3 GB".
std::string amount(double value, const char* unit) {
  static const char* const prefixes[] = {"", "k", "M", "G", "T", "P", "E"};
  size_t prefix = 0;
  for (; value >= 999.5 && prefix < 6; ++prefix) value /= 1000;
  std::ostringstream out;
  out << std::setprecision(3) << value << ' ' << prefixes[prefix] << unit;
  return out.str();
}

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

std::string seconds(double s) {
  return s >= 1      ? fixed(s, 2) + " s"
         : s >= 1e-3 ? fixed(s * 1e3, 1) + " ms"
                     : fixed(s * 1e6, 0) + " us";
}

std::string mesh_text(const Plan& plan) {
  return plan.mesh.axes.empty() ? "one device" : parallel::to_text(plan.mesh);
}

/// "4..7", "-" for none.
std::string blocks(const parallel::BlockRange& range) {
  if (range.size() == 0) return "-";
  return range.size() == 1 ? std::to_string(range.begin) : concat(range.begin, "..", range.end - 1);
}

/// Blocks of all stages of one rank of the pipeline.
std::string rank_blocks(const Plan& plan, size_t rank,
                        parallel::BlockRange parallel::Stage::*stack) {
  const auto ranks = static_cast<size_t>(plan.mesh.length("pipeline"));
  std::string text;
  for (size_t i = rank; i < plan.stages.size(); i += ranks)
    if ((plan.stages[i].*stack).size() > 0)
      text += (text.empty() ? "" : " ") + blocks(plan.stages[i].*stack);
  return text.empty() ? "-" : text;
}

std::string schedule_text(const Plan& plan) {
  return plan.schedule + (plan.rounds > 1 ? concat(" of ", plan.rounds, " rounds") : "");
}

double highest_memory(const Plan& plan) {
  double most = 0;
  for (const auto& rank : plan.predicted.ranks) most = std::max(most, rank.memory_bytes);
  return most;
}

/// Share of the devices' rate that the model's own operations take.
double utilisation(const planner::Predictor& predictor, const Plan& plan) {
  const double work = 3 * predictor.graph().flops() * static_cast<double>(plan.batch);
  return work / (plan.predicted.step_s * predictor.machine().flops *
                 static_cast<double>(plan.mesh.size()));
}

std::string report(const planner::Predictor& predictor, const Plan& plan) {
  const parallel::Prediction& predicted = plan.predicted;
  const int64_t ranks = plan.mesh.length("pipeline");
  const int64_t pictures =
      plan.batch / (plan.mesh.length("data") * plan.mesh.length("expert") * plan.micro_batches);
  std::ostringstream out;
  out << "model      " << plan.model << ": " << amount(predictor.graph().weights(), "weights")
      << ", " << amount(predictor.graph().flops(), "FLOP") << " a picture forward\n"
      << "plan       " << mesh_text(plan) << "; " << plan.batch << " pictures a step in "
      << plan.micro_batches << (plan.micro_batches == 1 ? " micro-batch" : " micro-batches")
      << " of " << pictures << " a rank\n";
  if (ranks > 1) out << "schedule   " << schedule_text(plan) << '\n';
  out << "memory     blocks " << (plan.rematerialize ? "computed again" : "kept")
      << (plan.mesh.length("tensor") > 1 ? "; residual stream " + plan.residual : "")
      << (plan.mesh.length("data") > 1
              ? concat("; optimizer state ",
                       plan.shard_update ? "split over data" : "on every rank")
              : "")
      << '\n';
  out << "predicted  " << seconds(predicted.step_s) << " a step, "
      << amount(static_cast<double>(plan.batch) / predicted.step_s, "pictures/s") << ", bubble "
      << fixed(100 * predicted.bubble, 1) << " %, " << fixed(100 * utilisation(predictor, plan), 1)
      << " % of the devices' rate\n";
  out << "sent       ";
  std::string sent;
  for (const auto& [collective, bytes] : predicted.bytes)
    if (bytes > 0) sent += (sent.empty() ? "" : ", ") + collective + " " + amount(bytes, "B");
  out << (sent.empty() ? "nothing" : sent + " a step, by the rank that sends most") << '\n';
  size_t width = 8;
  for (size_t r = 0; r < predicted.ranks.size(); ++r)
    width = std::max(width, rank_blocks(plan, r, &parallel::Stage::decoder).size() + 2);
  out << '\n'
      << std::left << std::setw(11) << "rank" << std::setw(9) << "encoder"
      << std::setw(static_cast<int>(width)) << "decoder" << std::setw(11) << "memory"
      << "busy\n";
  for (size_t r = 0; r < predicted.ranks.size(); ++r) {
    out << std::left << std::setw(11) << r << std::setw(9)
        << rank_blocks(plan, r, &parallel::Stage::encoder) << std::setw(static_cast<int>(width))
        << rank_blocks(plan, r, &parallel::Stage::decoder) << std::setw(11)
        << amount(predicted.ranks[r].memory_bytes, "B") << seconds(predicted.ranks[r].busy_s)
        << '\n';
  }
  return out.str();
}

Plan plan_by_hand(const planner::Predictor& predictor, const PlanOptions& options,
                  const std::string& model) {
  Plan plan =
      parallel::even_plan(predictor.graph().config, parallel::parse_mesh(options.mesh),
                          options.batch, options.micro_batches, options.schedule, options.rounds);
  plan.model = model;
  plan.rematerialize = options.rematerialize;
  plan.residual = options.residual;
  plan.predicted = predictor.predict(plan);
  return plan;
}

void run_one(const PlanOptions& options) {
  check_arg(options.devices.size() <= 1, "--devices", "expected one number without --table, got ",
            options.devices.size());
  const std::string model = options.model.empty() ? "parti-3b" : options.model;
  const planner::Predictor predictor(config_of(model, options.settings), machine_of(options),
                                     training_of(options));
  std::string text;
  Plan plan;
  if (!options.mesh.empty()) {
    plan = plan_by_hand(predictor, options, model);
    check_arg(options.devices.empty() || options.devices[0] == plan.mesh.size(), "--mesh",
              "expected ", options.devices.empty() ? 0 : options.devices[0], " devices, got ",
              plan.mesh.size());
    text = report(predictor, plan);
    if (highest_memory(plan) > options.memory)
      text += concat("\nIt does not fit: ", amount(highest_memory(plan), "B"), " of ",
                     amount(options.memory, "B"), "\n");
  } else {
    const planner::PlanSearch found =
        planner::plan_model(predictor, options.devices.empty() ? 8 : options.devices[0], model);
    plan = found.plan;
    std::ostringstream search;
    search << "\nThe best of " << found.candidates << " ways, " << found.predicted
           << " of them carried out in full.\n";
    if (plan.mesh.length("tensor") > 1)
      search << "A decoder block takes " << seconds(found.block_s)
             << " a micro-batch; the integer program over all layouts, also those that no model\n"
                "carries out, finds "
             << seconds(found.least_block_s) << ".\n";
    text = report(predictor, plan) + search.str();
  }
  if (!options.output.empty()) parallel::write_plan(options.output, plan);
  write_stdout(text);
}

void run_table(const PlanOptions& options) {
  const std::vector<std::string> models =
      options.model.empty()
          ? std::vector<std::string>{"parti-350m", "parti-750m", "parti-3b", "parti-20b"}
          : std::vector<std::string>{options.model};
  std::vector<int64_t> devices = options.devices;
  if (devices.empty()) devices = {8, 16, 32, 64, 128, 256, 512, 1024};
  std::ostringstream table;
  table << "Predicted, not measured: " << options.batch << " pictures a step, devices of "
        << amount(options.flops, "FLOP/s") << " and " << amount(options.memory, "B")
        << ", links of " << amount(options.bandwidth, "B/s") << " in nodes of "
        << options.devices_per_node << " and " << amount(options.node_bandwidth, "B/s")
        << " between.\n\n"
        << "| model | devices | mesh | micro-batches, schedule | step | pictures/s | rate used | "
           "bubble | memory |\n|---|---|---|---|---|---|---|---|---|\n";
  std::vector<ScalingCurve> curves;
  for (const std::string& model : models) {
    const planner::Predictor predictor(config_of(model, options.settings), machine_of(options),
                                       training_of(options));
    std::string name = model;
    for (const std::string& setting : options.settings) name += ", " + setting;
    ScalingCurve curve{model, {}};
    for (const int64_t count : devices) {
      table << "| " << name << " | " << count << " | ";
      Plan plan;
      try {
        plan = planner::plan_model(predictor, count, model).plan;
      } catch (const Error& error) {  // nothing fits
        if (error.kind() != ErrorKind::kUsage) throw;
        table << "does not fit | | | | | | |\n";
        continue;
      }
      const double rate = static_cast<double>(plan.batch) / plan.predicted.step_s;
      curve.points.emplace_back(count, rate);
      table << mesh_text(plan) << " | " << plan.micro_batches
            << (plan.mesh.length("pipeline") > 1 ? ", " + schedule_text(plan) : "")
            << (plan.rematerialize ? ", computed again" : "") << " | "
            << seconds(plan.predicted.step_s) << " | " << fixed(rate, 0) << " | "
            << fixed(100 * utilisation(predictor, plan), 0) << " % | "
            << fixed(100 * plan.predicted.bubble, 1) << " % | " << amount(highest_memory(plan), "B")
            << " |\n";
    }
    if (!curve.points.empty()) curves.push_back(std::move(curve));
  }
  if (!options.chart.empty()) {
    check_arg(!curves.empty(), "--chart", "expected a plan that fits, got none");
    write_file(options.chart, scaling_chart(curves));
  }
  write_stdout(table.str());
}

}  // namespace

int run_plan(const PlanOptions& options) {
  options.table ? run_table(options) : run_one(options);
  return 0;
}

}  // namespace lexel::cli
