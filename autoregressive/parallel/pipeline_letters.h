#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "autoregressive/parallel/pipeline_schedule.h"
#include "autoregressive/parallel/plan.h"

namespace lexel::parallel {

/// What travels between the chunks of a pipeline.
enum class Cargo { kStream, kGradient, kText, kTextGradient };

/// One message of a pass: what one chunk's work gives another's.
struct Letter {
  Stack stack = Stack::kDecoder;  // of the reader
  Cargo cargo = Cargo::kStream;
  int64_t micro_batch = 0;
  int64_t chunk = 0;  // that reads it
  int64_t from = 0;   // ranks of the pipeline; equal where a chunk's work is read on its own rank
  int64_t to = 0;

  bool of_backward() const { return cargo == Cargo::kGradient || cargo == Cargo::kTextGradient; }
  auto operator<=>(const Letter&) const = default;
};

/// The chunks of a stack that have blocks, in order.
struct Route {
  BlockRange Stage::*blocks;
  std::vector<int64_t> chunks;

  bool has(int64_t chunk) const;
  int64_t first() const { return chunks.front(); }
  int64_t last() const { return chunks.back(); }
  int64_t before(int64_t chunk) const;
  int64_t after(int64_t chunk) const;
};

/// Who sends what to whom in a pass, and in which order: a pure function of the plan. Readers ask for letters in the order in
/// which they are sent, so that a transport needs no more than order (NCCL has no tags).
class Letters {
 public:
  Letters(const PipelineSchedule& schedule, const Plan& plan, bool with_text);

  const Route& route(Stack stack) const { return stack == Stack::kEncoder ? encoder_ : decoder_; }
  int64_t rank_of(int64_t chunk) const { return chunk % ranks_; }
  int64_t clock_of(Stack stack, bool backward, int64_t micro_batch, int64_t chunk) const;

  /// The chunk at which a rank gets texts that another has encoded, by rank; none without text.
  const std::map<int64_t, int64_t>& text_readers() const { return text_readers_; }

  /// What an action needs, and what it gives once it is computed, in this order. Texts' gradients are given once by each reader,
  /// by its last backward of the micro-batch.
  std::vector<Letter> read_by(const PipelineAction& action) const;
  std::vector<Letter> written_by(const PipelineAction& action) const;
  /// The clock at which a letter is read.
  int64_t read_at(const Letter& letter) const;

  /// All letters from one rank to another in the order of sending; a pass without backward leaves those of backward out.
  const std::vector<Letter>& sent(int64_t from, int64_t to) const;
  /// Ranks that ever write to each other, (lower, higher), ascending.
  std::vector<std::pair<int64_t, int64_t>> pairs() const;

 private:
  bool is_last_use_of_text(const PipelineAction& action) const;

  int64_t ranks_;
  Route encoder_, decoder_;
  std::map<int64_t, int64_t> text_readers_;
  std::map<std::tuple<Stack, bool, int64_t, int64_t>, int64_t> clocks_;
  std::map<std::pair<int64_t, int64_t>, std::vector<Letter>> sent_;  // from, to
};

}  // namespace lexel::parallel
