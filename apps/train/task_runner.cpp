#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "apps/progress.h"
#include "apps/train/budget.h"
#include "apps/train/checkpoint.h"
#include "apps/train/memory.h"
#include "apps/train/optimizer.h"
#include "apps/train/provenance.h"
#include "apps/train/run_log.h"
#include "apps/train/stop_signal.h"
#include "apps/train/task.h"
#include "apps/train/team.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/image.h"

namespace lexel::train {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr int64_t kSampleColumns = 8;

/// Fields of a schedule that a resumed run may have otherwise: none of them says what a sample or a state is.
const std::set<std::string> kMayChange = {
    "steps",        "minutes",   "learning_rate", "decay",      "decay_start",        "final_rate",
    "weight_decay", "clip_norm", "eval_minutes",  "eval_steps", "checkpoint_minutes", "log_every"};

double rounded(double value) { return std::round(value * 1e5) / 1e5; }

OptimizerOptions optimizer_options(const TaskSchedule& s) {
  OptimizerOptions options{s.beta1, s.beta2, s.epsilon, s.weight_decay, s.clip_norm, s.average};
  if (s.optimizer == "adafactor") options.method = Method::kAdafactor;
  if (s.optimizer == "adafactor_int8") options.method = Method::kAdafactorInt8;
  return options;
}

/// (n, 3, S, S) as one picture of rows of kSampleColumns, white where the last row ends early.
void write_samples(const std::string& path, const at::Tensor& samples) {
  const int64_t count = samples.size(0), size = samples.size(2);
  const int64_t columns = std::min(count, kSampleColumns), rows = (count + columns - 1) / columns;
  at::Tensor tiles = samples.detach().to(at::kCPU, at::kFloat).clamp(0.0, 1.0);
  if (rows * columns > count) {
    tiles = at::cat({tiles, at::full({rows * columns - count, 3, size, size}, 1.0f)});
  }
  write_image(path, to_image(tiles.view({rows, columns, 3, size, size})
                                 .permute({2, 0, 3, 1, 4})
                                 .reshape({3, rows * size, columns * size})));
}

/// Adds the seconds since its construction to a sum.
class Timer {
 public:
  explicit Timer(double& sum) : sum_(sum) {}
  ~Timer() { sum_ += std::chrono::duration<double>(Clock::now() - begin_).count(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  double& sum_;
  Clock::time_point begin_ = Clock::now();
};

/// One run of a task in its folder.
class Runner {
 public:
  Runner(Task& task, const RunOptions& options);
  void run(const StopOnSignal& stop);

 private:
  /// What the log says of the steps since its last line.
  struct Since {
    std::map<std::string, double> losses;  // sums over steps
    int64_t steps = 0;
    double begin_s = 0.0, waited_s = 0.0;
    double forward_s = 0.0, backward_s = 0.0, optimizer_s = 0.0;
  };

  void restore();
  void check_same_recipe(const Json& before) const;
  std::vector<StatePiece> state() const;
  void step();
  std::map<std::string, double> forward_and_backward(double progress);
  void begin_interval();  // of the log
  void log_start();
  void log_step(double rate, double gradient_norm);
  void evaluate_and_report();
  void save();
  void write_model(const std::string& name);  // averaged weights in place
  double elapsed_s() const { return budget_->elapsed_s(); }
  std::string path(const std::string& name) const { return options_.output + "/" + name; }

  bool leads() const { return mesh_.world().rank == 0; }  // writes what is written once
  bool together() const { return mesh_.world().size > 1; }
  void follow_clock(const StopOnSignal* stop);
  TensorPlaces places() const;

  Task& task_;
  const RunOptions options_;
  const TaskSchedule schedule_;
  parallel::Mesh alone_;
  parallel::Mesh& mesh_;
  const BatchShare share_;
  ParameterList parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::shared_ptr<parallel::Timeline> timeline_;  // of the last step; or null
  std::unique_ptr<Budget> budget_;
  std::unique_ptr<RunLog> log_;
  std::string data_, data_fingerprint_;
  int64_t step_ = 0;           // finished steps
  Plan plan_;                  // as the checkpoint has it
  bool stop_ = false;          // some rank was asked to
  bool other_length_ = false;  // than the checkpoint's recipe has
  double elapsed_before_s_ = 0.0;
  int64_t metrics_bytes_ = 0;
  UsualLoss usual_loss_;
  double best_ = std::numeric_limits<double>::lowest();  // score
  std::string last_evaluation_;                          // JSON, for the model's provenance
  Since since_;
  std::string note_;  // behind the progress line
};

Runner::Runner(Task& task, const RunOptions& options)
    : task_(task),
      options_(options),
      schedule_(task.schedule()),
      mesh_(options.mesh == nullptr ? alone_ : *options.mesh),
      share_(batch_share(
          schedule_.accumulation, batch_ranks(mesh_.shape()),
          mesh_.coordinate("data") * mesh_.along("expert").size() + mesh_.coordinate("expert"))),
      parameters_(task.parameters()) {
  validate(schedule_);
  task.share_batches(share_);
  std::error_code error;
  std::filesystem::create_directories(options.output, error);
  check(!error, ErrorKind::kIo, options.output, ": ", error.message());
  data_ = task.data_provenance();
  data_fingerprint_ = Json::parse(data_).value("fingerprint", "");
  check_same_run(mesh_, task.recipe(), data_fingerprint_);
  require_gradients(parameters_, true);
  optimizer_ = std::make_unique<Optimizer>(parameters_, optimizer_options(schedule_),
                                           mesh_.along("data"), norm_over(mesh_), places());
  if (!options.trace.empty()) {
    timeline_ = std::make_shared<parallel::Timeline>(parameters_.front().tensor->device(),
                                                     mesh_.world().rank);
    optimizer_->trace_to(timeline_);
    task.trace_to(timeline_);
  }
  if (options.resume) restore();
  if (leads()) {
    log_ = std::make_unique<RunLog>(path("metrics.jsonl"), metrics_bytes_);
    write_file(path("recipe.json"), task.recipe());
  }
  budget_ = std::make_unique<Budget>(schedule_.steps, schedule_.minutes, plan_, elapsed_before_s_);
  if (other_length_) budget_->change_length(step_);
}

TensorPlaces Runner::places() const {
  return {[this](const std::string& name) { return task_.place_of(name); },
          [this](const std::string& axis) -> parallel::Group& { return mesh_.along(axis); }};
}

std::vector<StatePiece> Runner::state() const {
  std::vector<StatePiece> all = optimizer_->state();
  for (const Parameter& p : parameters_)
    if (!p.trained)
      all.push_back({"weights/" + p.name, p.tensor->sizes().vec(), {}, 0, p.tensor->detach()});
  return all;
}

void Runner::restore() {
  const std::string name = path("checkpoint.safetensors");
  const Checkpoint checkpoint = read_checkpoint(name);
  try {
    const auto numbers = Json::parse(checkpoint.numbers);
    const std::string kind = numbers.value("kind", "tokenizer");
    check(kind == task_.kind(), ErrorKind::kUsage, "--resume: ", name, " is of a ", kind,
          "'s training");
    const auto recipe = Json::parse(checkpoint.recipe);
    check_same_recipe(recipe);
    other_length_ =
        recipe.at("steps") != schedule_.steps || recipe.at("minutes") != schedule_.minutes;
    check(numbers.at("data_fingerprint") == data_fingerprint_, ErrorKind::kUsage,
          "--resume: the data is not that of the checkpoint");
    step_ = numbers.at("step");
    const auto& plan = numbers.at("plan");
    plan_ = {plan.at(0), plan.at(1), plan.at(2)};
    elapsed_before_s_ = numbers.at("elapsed_s");
    metrics_bytes_ = numbers.at("metrics_bytes");
    usual_loss_.value = numbers.at("usual_loss");
    best_ = numbers.at("best");
    optimizer_->set_steps(numbers.at("optimizer_steps"));
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::kBadData, name, ": the numbers of the checkpoint: ", error.what());
  }
  restore_pieces(checkpoint, name, state());
  optimizer_->share_weights();
}

void Runner::check_same_recipe(const Json& before) const {
  const auto now = Json::parse(task_.recipe());
  for (const auto& [key, value] : now.items()) {
    if (kMayChange.count(key) > 0) continue;
    check(before.contains(key) && before[key] == value, ErrorKind::kUsage,
          "--resume: the recipe is not that of the checkpoint: ", key, " is ", value.dump(),
          ", was ", before.contains(key) ? before[key].dump() : "missing");
  }
}

void Runner::run(const StopOnSignal& stop) {
  log_start();
  if (!options_.resume) {
    evaluate_and_report();
    save();
  }
  begin_interval();
  budget_->measure_from(step_);

  cli::Progress progress("training", -1, "steps", options_.quiet || !leads());
  const int64_t first_step = step_;
  double evaluated_s = elapsed_s(), saved_s = elapsed_s();
  follow_clock(&stop);
  while (!stop_ && !budget_->finished(step_)) {
    step();
    follow_clock(&stop);
    // The first step fills queues and pools, which can take as long as a hundred others: no rate to plan with.
    if (step_ == first_step + 1) budget_->measure_from(step_);
    if (budget_->first_estimate_due(step_ - first_step)) budget_->estimate(step_);
    if (budget_->plan().total_steps > 0) progress.set_total(budget_->plan().total_steps);
    progress.update(step_, note_);
    const bool due = schedule_.eval_steps > 0
                         ? step_ % schedule_.eval_steps == 0
                         : elapsed_s() - evaluated_s >= schedule_.eval_minutes * 60.0;
    if (due && !budget_->finished(step_)) {
      budget_->estimate(step_);
      evaluate_and_report();
      evaluated_s = elapsed_s();
    }
    if (elapsed_s() - saved_s >= schedule_.checkpoint_minutes * 60.0) {
      save();
      saved_s = elapsed_s();
    }
  }
  optimizer_->trace_to(nullptr);  // what comes is no step
  task_.trace_to(nullptr);
  if (budget_->finished(step_)) {
    evaluate_and_report();
    optimizer_->swap_averages();
    write_model("model.safetensors");
    optimizer_->swap_averages();
  }
  save();
  if (timeline_) write_trace(mesh_, *timeline_, options_.trace);
}

void Runner::follow_clock(const StopOnSignal* stop) {
  const bool asked = stop != nullptr && stop->asked();
  if (!together()) {
    stop_ = stop_ || asked;
    return;
  }
  const Agreement all = agree(mesh_, budget_->own_elapsed_s(), asked);
  budget_->follow(all.elapsed_s);
  stop_ = stop_ || all.stop;
}

void Runner::step() {
  const double progress = budget_->progress(step_);
  const double rate = learning_rate(schedule_, step_, progress);
  if (timeline_) timeline_->clear();
  const auto terms = forward_and_backward(progress);
  usual_loss_.observe(step_, terms.at("loss"));
  double norm = 0.0;
  try {
    const Timer timer(since_.optimizer_s);
    const parallel::Span span(timeline_.get(), "optimizer", "optimizer");
    norm = optimizer_->step(rate, {});
  } catch (const Error& error) {
    fail(error.kind(), "step ", step_ + 1, ": ", error.what());
  }
  ++step_;
  for (const auto& [name, value] : terms) since_.losses[name] += value;
  ++since_.steps;
  if (step_ % schedule_.log_every == 0) log_step(rate, norm);
}

std::map<std::string, double> Runner::forward_and_backward(double progress) {
  std::map<std::string, double> terms;
  const double share = 1.0 / double(share_.parts());
  optimizer_->zero_gradients();
  const auto add = [&](const TaskLoss& pass) {
    for (const auto& [name, value] : pass.terms) {
      const double term = value.item<double>();
      check(std::isfinite(term), ErrorKind::kBadData, "step ", step_ + 1, ": the loss term '", name,
            "' is not finite");
      terms[name] += term * share;
    }
    terms["loss"] += pass.loss.item<double>() * share;
  };
  if (task_.pipelined()) {
    const Timer timer(since_.forward_s);
    std::vector<int64_t> numbers;
    for (int64_t part = 0; part < share_.parts(); ++part)
      numbers.push_back(share_.number(step_ * share_.parts() + part));
    for (const TaskLoss& pass : task_.train_step(numbers, progress)) add(pass);
  }
  for (int64_t part = 0; part < share_.parts() && !task_.pipelined(); ++part) {
    TaskLoss pass;
    {
      const Timer timer(since_.forward_s);
      pass = task_.loss(share_.number(step_ * share_.parts() + part), progress);
    }
    {
      const Timer timer(since_.backward_s);
      const parallel::Span span(timeline_.get(), concat("backward ", part), "backward");
      if (part + 1 == share_.parts()) optimizer_->overlap_next_backward();
      (share_.parts() > 1 ? pass.loss * share : pass.loss).backward();
    }
    add(pass);
  }
  average_over(mesh_, terms);
  return terms;
}

void Runner::begin_interval() {
  since_ = {};
  since_.begin_s = elapsed_s();
  since_.waited_s = task_.waited_s();
}

void Runner::log_start() {
  if (!leads()) return;
  log_->append(Json({{"type", "start"},
                     {"step", step_},
                     {"kind", task_.kind()},
                     {"device", parameters_.front().tensor->device().str()},
                     {"parameters", parameter_count(parameters_, /*trained_only=*/true)},
                     {"data", Json::parse(data_)}})
                   .dump());
}

void Runner::log_step(double rate, double gradient_norm) {
  const double span_s = std::max(elapsed_s() - since_.begin_s, 1e-9);
  const double pictures = double(since_.steps * schedule_.batch * schedule_.accumulation) / span_s;
  const double waited_s = task_.waited_s() - since_.waited_s;
  Json line = {{"type", "step"},
               {"step", step_},
               {"progress", rounded(budget_->progress(step_))},
               {"time_s", rounded(elapsed_s())},
               {"rate", rate},
               {"gradient_norm", rounded(gradient_norm)},
               {"pictures_per_s", rounded(pictures)},
               {"waiting", rounded(waited_s / span_s)},
               // On a GPU whoever waits for its result is charged for what came before.
               {"forward", rounded((since_.forward_s - waited_s) / span_s)},
               {"backward", rounded(since_.backward_s / span_s)},
               {"optimizer", rounded(since_.optimizer_s / span_s)}};
  for (const auto& [name, sum] : since_.losses) line["losses"][name] = sum / double(since_.steps);
  std::ostringstream note;
  note.precision(4);
  note << "loss " << since_.losses["loss"] / double(since_.steps) << ", " << pictures
       << " pictures/s";
  note_ = note.str();
  if (leads()) log_->append(line.dump());
  begin_interval();
}

void Runner::evaluate_and_report() {
  const double begin_s = elapsed_s();
  optimizer_->swap_averages();
  TaskEvaluation found;
  {
    const at::NoGradGuard no_grad;
    found = task_.evaluate(step_);
  }
  if (together()) {  // processors may round otherwise: all ranks go by one score
    std::vector<double> score{found.score};
    average_over(mesh_, score);
    found.score = score[0];
  }
  Json line = {{"type", "eval"},
               {"step", step_},
               {"progress", rounded(budget_->progress(step_))},
               {"time_s", rounded(begin_s)},
               {"score", found.score},
               {"metrics", Json::object()}};
  for (const auto& [name, value] : found.metrics) line["metrics"][name] = value;
  last_evaluation_ = line.dump();
  if (found.samples.defined() && leads()) {
    line["samples"] = {{"size", found.samples.size(2)},
                       {"columns", std::min(found.samples.size(0), kSampleColumns)},
                       {"count", found.samples.size(0)},
                       {"captions", found.captions}};
    write_samples(path("samples.png"), found.samples);
    std::filesystem::create_directories(path("samples"));
    write_samples(path("samples/" + std::to_string(step_) + ".png"), found.samples);
  }
  if (leads()) log_->append(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (found.score > best_) {
    best_ = found.score;
    write_model("best.safetensors");
  }
  optimizer_->swap_averages();
  if (leads()) write_report(options_.output);
  follow_clock(nullptr);
  // What an evaluation takes is not the rate of training.
  since_.begin_s += elapsed_s() - begin_s;
  budget_->measure_from(step_);
}

void Runner::save() {
  const Plan& plan = budget_->plan();
  const Json numbers = {{"kind", task_.kind()},
                        {"step", step_},
                        {"plan", {plan.from_step, plan.from_progress, plan.total_steps}},
                        {"elapsed_s", elapsed_s()},
                        {"metrics_bytes", leads() ? log_->bytes() : 0},
                        {"usual_loss", usual_loss_.value},
                        {"best", best_},
                        {"data_fingerprint", data_fingerprint_},
                        {"optimizer_steps", optimizer_->steps()}};
  std::vector<StatePiece> pieces = state();
  std::erase_if(pieces, [](const StatePiece& piece) { return !piece.counts; });
  write_checkpoint(path("checkpoint.safetensors"), task_.recipe(), numbers.dump(), pieces,
                   mesh_.world());
}

void Runner::write_model(const std::string& name) {
  task_.write_model(leads() ? path(name) : "",
                    provenance_of_run({.command = options_.command,
                                       .recipe = task_.recipe(),
                                       .data = data_,
                                       .steps = step_,
                                       .pictures = step_ * schedule_.batch * schedule_.accumulation,
                                       .elapsed_s = elapsed_s(),
                                       .seed = schedule_.seed,
                                       .device = parameters_.front().tensor->device().str(),
                                       .evaluation = last_evaluation_}));
}

}  // namespace

void run_task(Task& task, const RunOptions& options) {
  check(!options.output.empty(), ErrorKind::kUsage, "--output is needed: the folder of the run");
  keep_freed_memory();
  const StopOnSignal stop;
  const parallel::World world = options.mesh == nullptr ? parallel::World() : options.mesh->world();
  parallel::run_as_rank(world, [&] { Runner(task, options).run(stop); });
}

}  // namespace lexel::train
