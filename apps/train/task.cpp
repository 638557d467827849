#include "apps/train/task.h"

#include "apps/train/schedule.h"
#include "kernels/check.h"

namespace lexel::train {

void validate(const TaskSchedule& s) {
  const auto require = [](bool ok, const char* field, const char* expected, const auto& got) {
    check(ok, ErrorKind::kUsage, "recipe: ", field, ": expected ", expected, ", got ", got);
  };
  require(s.seed >= 0, "seed", "at least 0", s.seed);
  require(s.steps >= 0, "steps", "at least 0", s.steps);
  require(s.minutes >= 0, "minutes", "at least 0", s.minutes);
  require(s.steps > 0 || s.minutes > 0, "steps", "steps or minutes above 0", s.steps);
  require(s.batch >= 1 && s.batch <= 65536, "batch", "1..65536", s.batch);
  require(s.accumulation >= 1, "accumulation", "at least 1", s.accumulation);
  require(s.compute == "bf16" || s.compute == "fp32", "compute", "bf16 or fp32", s.compute);
  const bool adafactor = s.optimizer == "adafactor" || s.optimizer == "adafactor_int8";
  require(s.optimizer == "adamw" || adafactor, "optimizer", "adamw, adafactor or adafactor_int8",
          s.optimizer);
  require(s.learning_rate > 0, "learning_rate", "above 0", s.learning_rate);
  require(s.decay == "cosine" || s.decay == "exponential", "decay", "cosine or exponential",
          s.decay);
  require(s.decay_start >= 0 && s.decay_start < 1, "decay_start", "0..1 (below 1)", s.decay_start);
  require(s.final_rate >= 0 && s.final_rate <= 1, "final_rate", "0..1", s.final_rate);
  require(s.decay == "cosine" || s.final_rate > 0, "final_rate", "above 0 for a decay to it",
          s.final_rate);
  require(s.warmup_steps >= 0, "warmup_steps", "at least 0", s.warmup_steps);
  require(s.beta1 >= 0 && s.beta1 < 1, "beta1", "0..1 (below 1)", s.beta1);
  require(s.beta2 >= 0 && s.beta2 < 1, "beta2", "0..1 (below 1)", s.beta2);
  require(s.epsilon > 0, "epsilon", "above 0", s.epsilon);
  require(!adafactor || s.epsilon <= 1e-16, "epsilon",
          "at most 1e-16 for adafactor, which adds it to the squared gradient", s.epsilon);
  require(s.weight_decay >= 0, "weight_decay", "at least 0", s.weight_decay);
  require(s.clip_norm >= 0, "clip_norm", "at least 0", s.clip_norm);
  require(s.average >= 0 && s.average < 1, "average", "0..1 (below 1)", s.average);
  require(s.eval_minutes > 0 || s.eval_steps > 0, "eval_minutes", "above 0 where eval_steps is 0",
          s.eval_minutes);
  require(s.eval_steps >= 0, "eval_steps", "at least 0", s.eval_steps);
  require(s.checkpoint_minutes > 0, "checkpoint_minutes", "above 0", s.checkpoint_minutes);
  require(s.log_every >= 1, "log_every", "at least 1", s.log_every);
}

double learning_rate(const TaskSchedule& s, int64_t step, double progress) {
  return s.learning_rate *
         warmup_decay(s.decay, step, s.warmup_steps, progress, s.decay_start, s.final_rate);
}

std::vector<TaskLoss> Task::train_step(const std::vector<int64_t>&, double) {
  fail(ErrorKind::kInternal, "a ", kind(), " is not trained as a pipeline");
}

}  // namespace lexel::train
