#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "apps/train/batch_share.h"
#include "apps/train/state_piece.h"
#include "autoregressive/parallel/mesh.h"
#include "autoregressive/parallel/timeline.h"
#include "kernels/parameters.h"

namespace lexel::train {

/// What every kind of training has in common, one flat list of fields in each kind's recipe.
struct TaskSchedule {
  int64_t seed = 1;
  int64_t steps = 0;  // length: the first of the two that is reached; 0 is "no limit"
  double minutes = 0.0;
  int64_t batch = 16;            // samples of one forward pass
  int64_t accumulation = 1;      // forward passes of one optimizer step
  std::string compute = "bf16";  // dtype of matrix products: "bf16" or "fp32"
  std::string optimizer =
      "adamw";  // "adamw", "adafactor" (float32 first moment) or "adafactor_int8"
  double learning_rate = 1e-3;
  std::string decay = "cosine";  // after the warm-up: "cosine" or "exponential"
  double decay_start = 0.0;      // progress at which the decay begins; the rate is constant before
  double final_rate = 0.03;      // share of learning_rate at the end
  int64_t warmup_steps = 100;
  double beta1 = 0.9, beta2 = 0.96;
  double epsilon = 1e-8;  // adamw: beside the root; adafactor: beside the squared gradient, 1e-30
  double weight_decay = 0.045;
  double clip_norm = 4.0;  // largest norm of the whole gradient; 0 is off
  double average = 0.0;    // decay of the averaged (EMA) weights; 0: none
  double eval_minutes = 3.0;
  int64_t eval_steps = 0;  // the same in steps; 0 is "by minutes"
  double checkpoint_minutes = 5.0;
  int64_t log_every = 20;  // steps
};

template <class AnySchedule, class Visitor>
requires std::is_same_v<std::remove_const_t<AnySchedule>, TaskSchedule>
void visit_fields(AnySchedule& s, Visitor&& visitor) {
  const auto visit = [&visitor](const char* name, auto& field) {
    visitor(std::string(name), field);
  };
  visit("seed", s.seed);
  visit("steps", s.steps);
  visit("minutes", s.minutes);
  visit("batch", s.batch);
  visit("accumulation", s.accumulation);
  visit("compute", s.compute);
  visit("optimizer", s.optimizer);
  visit("learning_rate", s.learning_rate);
  visit("decay", s.decay);
  visit("decay_start", s.decay_start);
  visit("final_rate", s.final_rate);
  visit("warmup_steps", s.warmup_steps);
  visit("beta1", s.beta1);
  visit("beta2", s.beta2);
  visit("epsilon", s.epsilon);
  visit("weight_decay", s.weight_decay);
  visit("clip_norm", s.clip_norm);
  visit("average", s.average);
  visit("eval_minutes", s.eval_minutes);
  visit("eval_steps", s.eval_steps);
  visit("checkpoint_minutes", s.checkpoint_minutes);
  visit("log_every", s.log_every);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const TaskSchedule& schedule);

/// Learning rate of a step.
double learning_rate(const TaskSchedule& schedule, int64_t step, double progress);

/// One forward pass: the loss to be lowered and numbers for the log.
struct TaskLoss {
  at::Tensor loss;                          // () with gradient
  std::map<std::string, at::Tensor> terms;  // () each, no gradient: "loss" is added by the runner
};

/// What an evaluation found.
struct TaskEvaluation {
  std::map<std::string, double> metrics;  // for the log, the report's curves and the provenance
  double score = 0.0;                     // higher is better: chooses best.safetensors
  at::Tensor samples;  // (n, 3, S, S) float32 in [0, 1] for the report; undefined: none
  std::vector<std::string> captions;  // of the samples, or empty
};

/// One kind of training: a model, where its samples come from, and what it is judged by. The runner (run_task) does the rest:
/// schedule, optimizer, clipping, accumulation, checkpoints, bit-exact resume, JSON lines, report, signals, budget.
class Task {
 public:
  virtual ~Task() = default;

  /// "generator", "scorer", ...: the kind in checkpoints.
  virtual std::string kind() const = 0;
  /// The recipe as JSON, with the schedule's fields at its top: a checkpoint carries it. A run goes on only with the same, but
  /// for its length, the learning rate and its decay, clipping, weight decay, and when it is watched.
  virtual std::string recipe() const = 0;
  virtual const TaskSchedule& schedule() const = 0;
  virtual ParameterList parameters() = 0;

  /// Before the first loss(): which batch numbers this rank will ask for, in what order. A kind of training that makes each batch when it is
  /// asked for it needs nothing here.
  virtual void share_batches(const BatchShare& share) { static_cast<void>(share); }

  /// Where this rank's tensor of a parameter lies in the whole one; none where all ranks hold it whole.
  virtual std::optional<PlaceOfTensor> place_of(const std::string& name) const {
    static_cast<void>(name);
    return std::nullopt;
  }

  /// Whether train_step() takes the place of loss() and its backward pass: a pipeline runs all passes of a step together.
  virtual bool pipelined() const { return false; }
  /// Forward and backward of the batches `numbers`: adds the gradient of the mean of their losses.
  virtual std::vector<TaskLoss> train_step(const std::vector<int64_t>& numbers, double progress);

  /// From now on the task draws what it waits for and its forward passes; null: no longer. The runner draws the rest.
  virtual void trace_to(std::shared_ptr<parallel::Timeline> timeline) {
    static_cast<void>(timeline);
  }

  /// The loss of batch `number` (step * accumulation + part): samples depend on the seed and this number alone, so that a resumed
  /// run equals an uninterrupted one. Workers may prepare the batches that follow.
  ///
  /// progress  of the run, 0..1
  virtual TaskLoss loss(int64_t number, double progress) = 0;

  /// Called with the averaged weights in place where there are any, on all ranks; no gradient. Samples need be on rank 0 alone.
  virtual TaskEvaluation evaluate(int64_t step) = 0;

  /// Writes the model as it is now (averaged weights in place where there are any). All ranks call it, as a model that lies in parts is
  /// gathered; `path` is empty on those that do not write.
  virtual void write_model(const std::string& path, const std::string& provenance) = 0;

  /// What the provenance says of the data: JSON object with a fingerprint.
  virtual std::string data_provenance() const = 0;

  /// Seconds that loss() has waited for samples, in all.
  virtual double waited_s() const { return 0.0; }
};

/// What the command line says about a run of any kind.
struct RunOptions {
  std::string
      output;  // folder: checkpoint.safetensors, metrics.jsonl, report.html, samples.png, best.safetensors, model.safetensors
  bool resume = false;
  std::string device = "auto";  // for who makes the task; the runner is where the parameters are
  std::string command;          // for the provenance
  bool quiet = false;
  parallel::Mesh* mesh = nullptr;  // the ranks that train together; null: this one alone
  std::string
      trace{};  // file for a timeline of the last step, JSON of chrome's traces; empty: none
};

/// Trains until the budget is used, or SIGINT or SIGTERM comes; then writes checkpoint, report and, if the budget is used, the model.
/// Also writes model files at each evaluation that is the best so far.
///
/// throws   Error(kBadData) on a loss or gradient that is not finite (step and culprit are named), or on an explosion;
///          Error(kUsage) a checkpoint of another recipe (the field is named) or other data; Error(kIo)
void run_task(Task& task, const RunOptions& options);

}  // namespace lexel::train
