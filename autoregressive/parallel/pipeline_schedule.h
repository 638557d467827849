#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lexel::parallel {

/// Who does what when in a pipeline of S stages, with M micro-batches and R rounds.
enum class ScheduleKind {
  kGpipe,                  // all forwards, then all backwards, mirrored
  kOneForwardOneBackward,  // a backward as soon as there is one: fewer activations live
  kCircular                // stage s holds chunks s, s + S, ... (R of them): a smaller bubble
};

/// "gpipe", "1f1b" or "circular".
/// throws   Error(kUsage) naming what there is
ScheduleKind parse_schedule(const std::string& name);
std::string to_text(ScheduleKind kind);

struct PipelineShape {
  int64_t stages = 1;         // S
  int64_t micro_batches = 1;  // M
  int64_t rounds = 1;         // R, chunks of the model that a stage holds; 1 but for kCircular
};

/// The encoder's pipeline and the decoder's run on the same stages.
enum class Stack { kEncoder, kDecoder };

/// One forward or one backward pass of one micro-batch through one chunk: one clock of one stage.
struct PipelineAction {
  int64_t clock = 0;
  int64_t stage = 0;  // chunk mod S
  Stack stack = Stack::kDecoder;
  bool backward = false;
  int64_t micro_batch = 0;
  int64_t chunk = 0;  // 0 .. R S - 1, in the order of the model's blocks

  bool operator==(const PipelineAction&) const = default;
};

struct PipelineSchedule {
  ScheduleKind kind = ScheduleKind::kGpipe;
  PipelineShape shape;
  std::vector<PipelineAction> actions;  // by clock, then by stage

  int64_t clocks() const;
  int64_t chunks() const { return shape.stages * shape.rounds; }
};

/// The decoder's schedule.
///
/// kGpipe     forward of micro-batch m at stage s: clock m + s; of T = M + S - 1 clocks. Backward: the mirror, 2 T - 1 - clock
/// kCircular  forward at stage s, with u = clock - s: round (u div S) mod R, micro-batch (u div (R S)) S + u mod S; of
///            T = R M + S - 1 clocks where S divides M. Backward: the mirror
/// kOneForwardOneBackward  forward of m at stage s: clock s + m where m < S - s, else s + 2 m; backward: 2 S - 1 - s + 2 m
///
/// throws   Error(kUsage) on lengths less than 1, or rounds with another kind than kCircular
/// source   Huang et al. 2018, arXiv:1811.06965; Yu et al. 2022, arXiv:2206.10789, section 3
PipelineSchedule make_schedule(ScheduleKind kind, const PipelineShape& shape);

/// `decoder` with an encoder on the same stages, one chunk a stage: all of its forwards come first (the decoder's begin as soon as
/// texts and stages are there), its backwards last, in the order in which the decoder is done with the micro-batches.
///
/// source   Yu et al. 2022, arXiv:2206.10789, section 3: separate pipelines for encoder and decoder
PipelineSchedule with_encoder(const PipelineSchedule& decoder);

/// The share of (stage, clock) in which nothing is done, by formula, of the decoder's schedule alone:
///   kGpipe, kOneForwardOneBackward  (S - 1) / (M + S - 1)        kCircular  (S - 1) / (R M + S - 1), where S divides M; else
///   1 - R M / T with T = (M - 1 div S) R S + (R - 1) S + (M - 1 mod S) + S
double bubble_by_formula(ScheduleKind kind, const PipelineShape& shape);

/// The most (micro-batch, chunk) pairs whose forward is done and whose backward is not, by formula, of the decoder's schedule
/// alone: kGpipe M, kOneForwardOneBackward min(S - s, M), kCircular R M. A pair's activations are those of 1 / R of a stage's
/// blocks. With rematerialisation a pair keeps its chunk's input only, and one pair at a time has all of its activations.
int64_t peak_by_formula(ScheduleKind kind, const PipelineShape& shape, int64_t stage);

/// The same two, counted: idle share over clocks first .. last of `actions`, and the most live pairs of a stack at a stage.
double counted_bubble(std::span<const PipelineAction> actions, int64_t stages);
int64_t counted_peak(std::span<const PipelineAction> actions, Stack stack, int64_t stage);

}  // namespace lexel::parallel
