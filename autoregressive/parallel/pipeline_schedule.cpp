#include "autoregressive/parallel/pipeline_schedule.h"

#include <algorithm>
#include <tuple>

#include "kernels/check.h"

namespace lexel::parallel {
namespace {

/// Clocks of the forward half of a mirrored schedule: one after the last micro-batch's last round at the last stage.
int64_t forward_clocks(const PipelineShape& shape) {
  const auto [stages, micro_batches, rounds] = shape;
  const int64_t segment = (micro_batches - 1) / stages, place = (micro_batches - 1) % stages;
  return segment * rounds * stages + (rounds - 1) * stages + place + stages;
}

/// kCircular, and with one round kGpipe. Micro-batches are fed in segments of S, each of which goes R times around.
void add_mirrored(const PipelineShape& shape, std::vector<PipelineAction>& actions) {
  const auto [stages, micro_batches, rounds] = shape;
  const int64_t all = 2 * forward_clocks(shape);
  for (int64_t m = 0; m < micro_batches; ++m) {
    for (int64_t round = 0; round < rounds; ++round) {
      const int64_t u = m / stages * rounds * stages + round * stages + m % stages;
      for (int64_t stage = 0; stage < stages; ++stage) {
        const int64_t clock = u + stage, chunk = round * stages + stage;
        actions.push_back({clock, stage, Stack::kDecoder, false, m, chunk});
        actions.push_back({all - 1 - clock, stage, Stack::kDecoder, true, m, chunk});
      }
    }
  }
}

void add_one_forward_one_backward(const PipelineShape& shape,
                                  std::vector<PipelineAction>& actions) {
  for (int64_t stage = 0; stage < shape.stages; ++stage) {
    for (int64_t m = 0; m < shape.micro_batches; ++m) {
      const int64_t forward = m < shape.stages - stage ? stage + m : stage + 2 * m;
      const int64_t backward = 2 * shape.stages - 1 - stage + 2 * m;
      actions.push_back({forward, stage, Stack::kDecoder, false, m, stage});
      actions.push_back({backward, stage, Stack::kDecoder, true, m, stage});
    }
  }
}

void sort_by_clock(std::vector<PipelineAction>& actions) {
  std::ranges::sort(actions, {},
                    [](const PipelineAction& a) { return std::tuple(a.clock, a.stage); });
}

void check_shape(ScheduleKind kind, const PipelineShape& shape) {
  check_arg(shape.stages >= 1, "make_schedule", "expected at least 1 stage, got ", shape.stages);
  check_arg(shape.micro_batches >= 1, "make_schedule", "expected at least 1 micro-batch, got ",
            shape.micro_batches);
  check_arg(shape.rounds >= 1, "make_schedule", "expected at least 1 round, got ", shape.rounds);
  check_arg(shape.rounds == 1 || kind == ScheduleKind::kCircular, "make_schedule",
            "expected 1 round of schedule '", to_text(kind), "', got ", shape.rounds);
}

}  // namespace

ScheduleKind parse_schedule(const std::string& name) {
  for (const ScheduleKind kind :
       {ScheduleKind::kGpipe, ScheduleKind::kOneForwardOneBackward, ScheduleKind::kCircular}) {
    if (name == to_text(kind)) return kind;
  }
  fail(ErrorKind::kUsage, "expected a pipeline's schedule gpipe, 1f1b or circular, got '", name,
       "'");
}

std::string to_text(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::kGpipe:
      return "gpipe";
    case ScheduleKind::kOneForwardOneBackward:
      return "1f1b";
    case ScheduleKind::kCircular:
      return "circular";
  }
  fail(ErrorKind::kInternal, "a kind of schedule without a name");
}

int64_t PipelineSchedule::clocks() const { return actions.empty() ? 0 : actions.back().clock + 1; }

PipelineSchedule make_schedule(ScheduleKind kind, const PipelineShape& shape) {
  check_shape(kind, shape);
  PipelineSchedule schedule{kind, shape, {}};
  if (kind == ScheduleKind::kOneForwardOneBackward) {
    add_one_forward_one_backward(shape, schedule.actions);
  } else {
    add_mirrored(shape, schedule.actions);
  }
  sort_by_clock(schedule.actions);
  return schedule;
}

PipelineSchedule with_encoder(const PipelineSchedule& decoder) {
  const int64_t stages = decoder.shape.stages, micro_batches = decoder.shape.micro_batches;
  PipelineSchedule schedule = decoder;

  // The decoder starts as soon as each stage has done the encoder's forwards and the text of each micro-batch (out of the last
  // stage at clock m + S - 1) is there.
  int64_t start = 0;
  for (const PipelineAction& a : decoder.actions) {
    if (a.backward) continue;
    start = std::max({start, a.stage + micro_batches - a.clock,  // the stage is free
                      a.micro_batch + stages - a.clock});        // the text is there
  }
  for (PipelineAction& a : schedule.actions) a.clock += start;

  // The encoder's backwards: all stages are done with the micro-batch, and the stage has nothing else to do.
  const bool mirrored = decoder.kind != ScheduleKind::kOneForwardOneBackward;
  const auto order = [&](int64_t m) { return mirrored ? micro_batches - 1 - m : m; };
  int64_t end = 0;
  for (const PipelineAction& a : schedule.actions) {
    const int64_t wave = stages - 1 - a.stage;  // clocks after the last stage's
    end = std::max(end, a.clock + 1 - wave);
    if (a.backward) end = std::max(end, a.clock + 1 - order(a.micro_batch));
  }
  for (int64_t m = 0; m < micro_batches; ++m) {
    for (int64_t s = 0; s < stages; ++s) {
      schedule.actions.push_back({m + s, s, Stack::kEncoder, false, m, s});
      schedule.actions.push_back({end + order(m) + stages - 1 - s, s, Stack::kEncoder, true, m, s});
    }
  }
  sort_by_clock(schedule.actions);
  return schedule;
}

double bubble_by_formula(ScheduleKind kind, const PipelineShape& shape) {
  check_shape(kind, shape);
  const auto busy = static_cast<double>(shape.rounds * shape.micro_batches);
  const auto stages = static_cast<double>(shape.stages);
  if (kind == ScheduleKind::kCircular && shape.micro_batches % shape.stages != 0) {
    return 1.0 - busy / static_cast<double>(forward_clocks(shape));
  }
  return (stages - 1.0) / (busy + stages - 1.0);
}

int64_t peak_by_formula(ScheduleKind kind, const PipelineShape& shape, int64_t stage) {
  check_shape(kind, shape);
  check_arg(stage >= 0 && stage < shape.stages, "peak_by_formula", "expected a stage in 0 to ",
            shape.stages - 1, ", got ", stage);
  return kind == ScheduleKind::kOneForwardOneBackward
             ? std::min(shape.stages - stage, shape.micro_batches)
             : shape.rounds * shape.micro_batches;
}

double counted_bubble(std::span<const PipelineAction> actions, int64_t stages) {
  if (actions.empty()) return 0.0;
  const auto [first, last] = std::ranges::minmax(actions, {}, &PipelineAction::clock);
  const int64_t clocks = last.clock - first.clock + 1;
  return 1.0 - static_cast<double>(actions.size()) / static_cast<double>(clocks * stages);
}

int64_t counted_peak(std::span<const PipelineAction> actions, Stack stack, int64_t stage) {
  int64_t live = 0, peak = 0;
  for (const PipelineAction& a : actions) {
    if (a.stack != stack || a.stage != stage) continue;
    live += a.backward ? -1 : 1;
    peak = std::max(peak, live);
  }
  return peak;
}

}  // namespace lexel::parallel
