// All blocks of a decode step in one parallel region. A block is up to eight phases (phases.h): each linear map shared out by
// panels of its outputs, each attention by rows and heads. Every sum is that of linear_decode and decode_attention, whoever does
// it, so the bits are those of the parts.

#include "kernels/cpu/decode_blocks.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <hwy/aligned_allocator.h>

#include "kernels/cpu/phases.h"

namespace lexel::kernels::cpu {
namespace {

constexpr int64_t kMaxHeadWidth = 128;
constexpr size_t kPhasesOfBlock = 8;

int64_t bytes_of(const LinearProblem& linear) {
  const int64_t number = linear.format == WeightFormat::kFloat32    ? 4
                         : linear.format == WeightFormat::kBFloat16 ? 2
                                                                    : 1;
  return linear.outputs * linear.inputs * number;
}

/// What an item of a phase is.
enum class Job {
  kPanels,         // some panels of `linear`
  kSelfAttention,  // one head of one picture: its keys and values appended for all steps, then attended to
  kCrossAttention,  // the same where the keys stand
  kAddHeads,        // all heads added to x, of a block without an output map
};

struct Phase {
  Job job;
  LinearProblem linear{};
  int64_t panels = 0;  // of an item
  const CachePointers* cache = nullptr;
  AttentionMask mask{};
};

/// Panels of an item: units of 4 where there are enough for several items a thread, else an even share.
int64_t panels_of_item(const LinearProblem& linear, int64_t threads) {
  constexpr int64_t kUnit = 4, kItemsOfThread = 3;
  const int64_t panels = num_panels(linear);
  const int64_t share = (panels + threads - 1) / threads;
  if (share <= kUnit) return share;
  return std::max(kUnit, panels / (threads * kItemsOfThread) / kUnit * kUnit);
}

/// Buffers that all threads share, and the list of phases over them.
class Plan {
 public:
  Plan(const BlocksProblem& problem, int64_t threads)
      : problem_(problem), threads_(threads), rows_(problem.steps * problem.batch) {
    int64_t hidden = 0;
    for (const BlockProblem& block : problem.blocks) hidden = std::max(hidden, block.up.outputs);
    const int64_t width = problem.width;
    buffers_ = hwy::AllocateAligned<float>(static_cast<size_t>(rows_ * (4 * width + hidden)));
    qkv_ = buffers_.get();
    heard_ = qkv_ + rows_ * 3 * width;
    hidden_ = heard_ + rows_ * width;
    phases_.reserve(problem.blocks.size() * kPhasesOfBlock);
    for (const BlockProblem& block : problem.blocks) add_block(block);
  }

  void run() {
    const auto make_worker = [&] {
      return Worker{hwy::AllocateAligned<float>(static_cast<size_t>(rows_ * widest_)), -1};
    };
    schedule_.run(threads_, make_worker, [&](Worker& worker, size_t phase, int64_t item) {
      switch (phases_[phase].job) {
        case Job::kPanels:
          return multiply(phases_[phase], worker, static_cast<int64_t>(phase), item);
        case Job::kSelfAttention:
        case Job::kCrossAttention:
          return attend(phases_[phase], item);
        case Job::kAddHeads:
          for (int64_t i = 0; i < rows_ * problem_.width; ++i) problem_.x[i] += heard_[i];
      }
    });
  }

 private:
  /// A thread's own copy of the rows that a linear map reads, once normalised.
  struct Worker {
    hwy::AlignedFreeUniquePtr<float[]> rows;
    int64_t phase;  // whose rows they are
  };

  void add_linear(LinearProblem linear, const float* x, const float* residual, float* y) {
    linear.x = x;
    linear.batch = rows_;
    linear.residual = residual;
    linear.y = y;
    const int64_t panels = panels_of_item(linear, threads_);
    phases_.push_back({Job::kPanels, linear, panels});
    schedule_.add((num_panels(linear) + panels - 1) / panels);
    widest_ = std::max(widest_, prepared_stride(linear));
  }

  void add_attention(Job job, const CachePointers& cache, const AttentionMask& mask) {
    phases_.push_back({job, {}, 0, &cache, mask});
    schedule_.add(problem_.batch * cache.heads);
  }

  void add_block(const BlockProblem& block) {
    float* const x = problem_.x;
    add_linear(block.qkv, x, nullptr, qkv_);
    add_attention(Job::kSelfAttention, block.self, block.mask);
    if (block.out.values != nullptr) {
      add_linear(block.out, heard_, x, x);
    } else {
      phases_.push_back({Job::kAddHeads});
      schedule_.add(1);
    }
    if (block.cross_q.values != nullptr) {
      add_linear(block.cross_q, x, nullptr, qkv_);
      add_attention(Job::kCrossAttention, block.cross, AttentionMask::full());
      add_linear(block.cross_out, heard_, x, x);
    }
    if (block.up.values == nullptr) return;
    add_linear(block.up, x, nullptr, hidden_);
    add_linear(block.down, hidden_, x, x);
  }

  void multiply(const Phase& work, Worker& worker, int64_t phase, int64_t item) {
    const LinearProblem& linear = work.linear;
    Rows x{linear.x, linear.inputs};
    if (needs_preparation(linear)) {
      if (worker.phase != phase) prepare_rows(linear, worker.rows.get());
      worker.phase = phase;
      x = {worker.rows.get(), prepared_stride(linear)};
    }
    const int64_t first = item * work.panels;
    multiply_panels(linear, x, first, std::min(first + work.panels, num_panels(linear)));
  }

  /// Head item % H of picture item / H.
  void attend(const Phase& work, int64_t item) {
    const CachePointers& cache = *work.cache;
    const bool is_self = work.job == Job::kSelfAttention;
    const int64_t picture = item / cache.heads, head = item % cache.heads, d = cache.width;
    const int64_t stride = (is_self ? 3 : 1) * problem_.width;  // of the queries' rows
    const int64_t bytes = cache.format == CacheFormat::kFloat32    ? 4
                          : cache.format == CacheFormat::kBFloat16 ? 2
                                                                   : 1;
    const int64_t place = item * cache.capacity;
    const auto at = [&](void* data) { return static_cast<char*>(data) + place * d * bytes; };
    float* const key_scales = cache.key_scales == nullptr ? nullptr : cache.key_scales + place;
    float* const value_scales =
        cache.value_scales == nullptr ? nullptr : cache.value_scales + place;
    const auto row_of = [&](int64_t step) { return step * problem_.batch + picture; };
    if (is_self) {
      for (int64_t step = 0; step < problem_.steps; ++step) {
        const float* const k = qkv_ + row_of(step) * stride + problem_.width + head * d;
        const int64_t position = problem_.positions[row_of(step)];
        write_vector(k, d, cache.format, at(cache.keys), key_scales, position);
        write_vector(k + problem_.width, d, cache.format, at(cache.values), value_scales, position);
      }
    }
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
    for (int64_t step = 0; step < problem_.steps; ++step) {
      const int64_t row = row_of(step);
      alignas(64) std::array<float, kMaxHeadWidth> q;
      const float* const source = qkv_ + row * stride + head * d;
      for (int64_t i = 0; i < d; ++i) q[static_cast<size_t>(i)] = source[i] * scale;
      const int64_t length = is_self ? problem_.positions[row] + 1 : problem_.text_lengths[picture];
      float* const heard = heard_ + row * problem_.width + head * d;
      decode_attention_of_head({q.data(), cache.format, at(cache.keys), at(cache.values),
                                key_scales, value_scales, &length, work.mask, 1, 1, 1,
                                cache.capacity, d, heard});
    }
  }

  const BlocksProblem& problem_;
  int64_t threads_, rows_, widest_ = 0;
  hwy::AlignedFreeUniquePtr<float[]> buffers_;
  float *qkv_, *heard_, *hidden_;  // (R, 3 D); (R, D); (R, hidden)
  std::vector<Phase> phases_;
  Phases schedule_;
};

}  // namespace

void decode_blocks(const BlocksProblem& problem) {
  constexpr int64_t kGrainBytes = 1 << 15;  // of a linear map that are worth a thread: about 2 us
  int64_t largest = 0;
  for (const BlockProblem& block : problem.blocks) {
    largest = std::max({largest, bytes_of(block.qkv), bytes_of(block.up)});
  }
  const int64_t threads = std::clamp<int64_t>(largest / kGrainBytes, 1, at::get_num_threads());
  Plan(problem, threads).run();
}

}  // namespace lexel::kernels::cpu
