// One block a row, the row's guided logits in shared memory (past kSharedVocabulary in scratch, which stays in L2).
//
// As on the CPU, a cut is a value and how many of the tokens that equal it stay. It is found by a histogram of 1024 bins over
// the range of the logits, a rising function of the logit, so that bins are in the tokens' order: the bin that holds
// the cut is found by a scan, and the few tokens in it compare themselves with each other. A crowded bin (many
// equals, or an outlier that stretches the range) is divided again; from the third time on by the logits' bits, which
// takes at most four rounds whatever they are. Sums are integers: the order of the atomics does not matter.

#include <cmath>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/sampling.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarp = 32;
constexpr int kBins = kThreads;        // one a thread
constexpr uint32_t kCandidates = 256;  // of one bin, that compare themselves with each other
constexpr unsigned kAllLanes = 0xFFFFFFFFU;
static_assert(kThreads == kWarp * kWarp);

struct Cut {
  float value;     // of the least likely token kept
  uint64_t above;  // count, or sum of weights, of the tokens above it
};

struct __align__(16) Shared {
  float values[kSharedVocabulary];             // read by fours
  uint32_t bins_low[kBins], bins_high[kBins];  // 64-bit sums in two halves: 32-bit atomics are fast
  float candidates[kCandidates];
  uint64_t candidate_weights[kCandidates];
  uint64_t partial_sums[kWarp];
  float partial_values[2][kWarp];
  uint32_t num_candidates;
  int bin;
  uint64_t bin_above;
  Cut cut;
};

struct Row {
  const float* values;  // kNeverDrawn up to a multiple of 4
  int64_t size;
  float largest, inverse_temperature;
  __device__ uint64_t weight(float value) const {
    return token_weight(value - largest, inverse_temperature);
  }
};

struct Range {
  float low, high;
};

/// The least and the largest over the block, for all threads.
__device__ Range block_range(Range range, Shared& shared) {
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int round = 0; round < 2; ++round) {
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      range.low = fminf(range.low, __shfl_xor_sync(kAllLanes, range.low, offset));
      range.high = fmaxf(range.high, __shfl_xor_sync(kAllLanes, range.high, offset));
    }
    if (round == 1) break;
    if (lane == 0) {
      shared.partial_values[0][warp] = range.low;
      shared.partial_values[1][warp] = range.high;
    }
    __syncthreads();
    range = {shared.partial_values[0][lane], shared.partial_values[1][lane]};
  }
  __syncthreads();
  return range;
}

struct Scan {
  uint64_t before, through, total;  // sums of the threads before, with this one, and of all
};

__device__ Scan block_scan(uint64_t value, Shared& shared) {
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  uint64_t sum = value;
  for (unsigned offset = 1; offset < kWarp; offset *= 2) {
    const uint64_t other = __shfl_up_sync(kAllLanes, sum, offset);
    if (lane >= offset) sum += other;
  }
  if (lane == kWarp - 1) shared.partial_sums[warp] = sum;
  __syncthreads();
  uint64_t warps = shared.partial_sums[lane];  // each warp scans them for itself
  for (unsigned offset = 1; offset < kWarp; offset *= 2) {
    const uint64_t other = __shfl_up_sync(kAllLanes, warps, offset);
    if (lane >= offset) warps += other;
  }
  const uint64_t total = __shfl_sync(kAllLanes, warps, kWarp - 1);
  const uint64_t earlier = __shfl_sync(kAllLanes, warps, warp == 0 ? 0 : warp - 1);
  __syncthreads();
  sum += warp == 0 ? 0 : earlier;
  return {sum - value, sum, total};
}

/// Bits of a float as an integer in the order of the floats; both zeros alike.
__device__ uint32_t ordered_bits(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0F);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
}

/// Bins of a range, the largest logits in bin 0.
class Bins {
 public:
  __device__ Bins(Range range, int round) {
    const float half = 0.5F * range.high - 0.5F * range.low;
    linear_ = round < 2 && half > 1e-30F;
    half_high_ = 0.5F * range.high;
    scale_ = linear_ ? static_cast<float>(kBins) / half : 0.0F;
    high_bits_ = ordered_bits(range.high);
    bits_per_bin_ = (high_bits_ - ordered_bits(range.low)) / kBins + 1;
  }
  __device__ int of(float value) const {
    if (linear_) return min(static_cast<int>((half_high_ - 0.5F * value) * scale_), kBins - 1);
    return static_cast<int>((high_bits_ - ordered_bits(value)) / bits_per_bin_);
  }

 private:
  bool linear_;
  float half_high_, scale_;
  uint32_t high_bits_, bits_per_bin_;
};

/// The cut at which the tokens of the range, largest first, reach `wanted` >= 1; kWeighted: by weight, else by number. Below
/// all tokens where they do not reach it.
template <bool kWeighted>
__device__ Cut find_cut(const Row& row, Range range, uint64_t wanted, Shared& shared) {
  uint64_t above = 0;
  for (int round = 0;; ++round) {
    const Bins bins(range, round);
    const auto inside = [&](float value) { return value >= range.low && value <= range.high; };
    shared.bins_low[threadIdx.x] = 0;
    shared.bins_high[threadIdx.x] = 0;
    if (threadIdx.x == 0) shared.bin = -1;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < row.size; i += kThreads) {
      const float value = row.values[i];
      if (!inside(value)) continue;
      const int bin = bins.of(value);
      if constexpr (kWeighted) {
        const uint64_t weight = row.weight(value);
        const auto low = static_cast<uint32_t>(weight);
        const uint32_t before = atomicAdd(&shared.bins_low[bin], low);
        const uint32_t high =
            static_cast<uint32_t>(weight >> 32) + (before + low < before ? 1U : 0U);
        if (high != 0) atomicAdd(&shared.bins_high[bin], high);
      } else {
        atomicAdd(&shared.bins_low[bin], 1U);
      }
    }
    __syncthreads();
    const Scan scan = block_scan(
        shared.bins_low[threadIdx.x] | uint64_t{shared.bins_high[threadIdx.x]} << 32, shared);
    if (above + scan.before < wanted && wanted <= above + scan.through) {
      shared.bin = static_cast<int>(threadIdx.x);
      shared.bin_above = above + scan.before;
      shared.num_candidates = 0;
    }
    __syncthreads();
    const int found = shared.bin;
    if (found < 0) return {kNeverDrawn, above + scan.total};
    above = shared.bin_above;

    Range next{INFINITY, -INFINITY};
    for (int64_t i = threadIdx.x; i < row.size; i += kThreads) {
      const float value = row.values[i];
      if (!inside(value) || bins.of(value) != found) continue;
      next = {fminf(next.low, value), fmaxf(next.high, value)};
      const uint32_t place = atomicAdd(&shared.num_candidates, 1U);
      if (place < kCandidates) {
        shared.candidates[place] = value;
        if constexpr (kWeighted) shared.candidate_weights[place] = row.weight(value);
      }
    }
    __syncthreads();
    const uint32_t count = shared.num_candidates;
    if (count <= kCandidates) {
      if (threadIdx.x < count) {
        const float mine = shared.candidates[threadIdx.x];
        uint64_t greater = above, equal = 0;
        for (uint32_t j = 0; j < count; ++j) {
          const float other = shared.candidates[j];
          const uint64_t weight = kWeighted ? shared.candidate_weights[j] : 1;
          if (other > mine) greater += weight;
          if (other == mine) equal += weight;
        }
        // Equal tokens say the same (up to the sign of a zero), and one of them does.
        if (greater < wanted && wanted <= greater + equal) shared.cut = {mine, greater};
      }
      __syncthreads();
      return shared.cut;
    }
    range = block_range(next, shared);
    if (range.low == range.high) return {range.low, above};
  }
}

/// Writes the guided logits of a row; returns the least and the largest of those that can be drawn.
__device__ Range guided_row(const SamplingArguments& a, int64_t row, float* values) {
  const int64_t size = a.vocabulary;
  const float* const conditional = a.logits + row * size;
  const float* const unconditional = a.rule.guided ? a.unconditional + row * size : conditional;
  Range range{INFINITY, kNeverDrawn};
  const auto take = [&](float c, float u) {
    const float value = finite_or_never(a.rule.guided ? guided_logit(c, u, a.rule.guidance) : c);
    if (value != kNeverDrawn) range.low = fminf(range.low, value);
    range.high = fmaxf(range.high, value);
    return value;
  };
  const auto places =
      reinterpret_cast<uintptr_t>(conditional) | reinterpret_cast<uintptr_t>(unconditional);
  if (size % 4 == 0 && places % sizeof(float4) == 0) {
    for (int64_t i = threadIdx.x; i < size / 4; i += kThreads) {
      const float4 c = reinterpret_cast<const float4*>(conditional)[i];
      float4 u = c;
      if (a.rule.guided) u = reinterpret_cast<const float4*>(unconditional)[i];
      reinterpret_cast<float4*>(values)[i] =
          make_float4(take(c.x, u.x), take(c.y, u.y), take(c.z, u.z), take(c.w, u.w));
    }
  } else {
    for (int64_t i = threadIdx.x; i < (size + 3) / 4 * 4; i += kThreads) {
      values[i] = i < size ? take(conditional[i], unconditional[i]) : kNeverDrawn;
    }
  }
  return range;
}

/// Writes the token at `target` in the running sum of weights, in order of index, of the tokens above the cut and the first
/// `equal` of those at it.
__device__ void draw_token(const SamplingArguments& a, int64_t row_number, const Row& row,
                           float cut, uint64_t equal, Shared& shared) {
  const uint64_t cut_weight = equal > 0 ? row.weight(cut) : 0;
  const int64_t share = ((row.size + kThreads - 1) / kThreads + 3) / 4 * 4;  // of a thread
  const int64_t first = threadIdx.x * share;
  const int64_t last = first + share < row.size ? first + share : row.size;
  uint64_t greater = 0, equals = 0;
  const auto count = [&](float value) {
    if (value > cut) greater += row.weight(value);
    if (value == cut) ++equals;
  };
  for (int64_t i = first; i < last; i += 4) {
    const float4 v = *reinterpret_cast<const float4*>(row.values + i);
    for (const float value : {v.x, v.y, v.z, v.w}) count(value);
  }
  const Scan sums = block_scan(greater, shared);
  const Scan counts = block_scan(equals, shared);
  const auto kept = [&](uint64_t sum, uint64_t number) {
    return sum + (number < equal ? number : equal) * cut_weight;
  };
  const uint64_t total = kept(sums.total, equal);
  const uint64_t target =
      draw_below(total, a.rule.seed, a.pictures[row_number], a.positions[row_number]);
  uint64_t reached = kept(sums.before, counts.before);
  if (target < reached || target >= kept(sums.through, counts.through)) return;
  uint64_t left = counts.before < equal ? equal - counts.before : 0;
  for (int64_t i = first;; ++i) {
    const float value = row.values[i];
    if (value < cut || (value == cut && left == 0)) continue;
    if (value == cut) --left;
    const uint64_t weight = row.weight(value);
    if (target < reached + weight) {
      a.ids[row_number] = i;
      a.log_probabilities[row_number] = log_probability(weight, total);
      return;
    }
    reached += weight;
  }
}

__global__ void __launch_bounds__(kThreads, 1) sample_rows(SamplingArguments a) {
  __shared__ Shared shared;
  const int64_t row_number = blockIdx.x;
  float* const values = a.vocabulary <= kSharedVocabulary
                            ? shared.values
                            : a.scratch + row_number * ((a.vocabulary + 3) / 4 * 4);
  const Range range = block_range(guided_row(a, row_number, values), shared);
  const Row row{values, a.vocabulary, range.high, a.rule.inverse_temperature};

  if (range.high == kNeverDrawn) {
    if (threadIdx.x == 0) {
      a.ids[row_number] = 0;
      a.log_probabilities[row_number] = kNoProbability;
    }
    return;
  }
  if (a.rule.inverse_temperature == 0.0F || a.rule.top_k == 1) {
    if (threadIdx.x == 0) shared.num_candidates = 0xFFFFFFFFU;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < row.size; i += kThreads) {
      if (values[i] == row.largest) atomicMin(&shared.num_candidates, static_cast<uint32_t>(i));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      a.ids[row_number] = shared.num_candidates;
      a.log_probabilities[row_number] = 0.0F;
    }
    return;
  }

  Cut cut{kNeverDrawn, 0};
  uint64_t equal = 0;  // of the tokens at the cut, those kept
  const auto top_k = static_cast<uint64_t>(a.rule.top_k);
  if (a.rule.top_k < a.vocabulary) {
    cut = find_cut<false>(row, range, top_k, shared);
    if (cut.value != kNeverDrawn) equal = top_k - cut.above;
  }
  if (a.rule.top_p < 1.0) {
    uint64_t sum = 0;
    for (int64_t i = threadIdx.x; i < row.size; i += kThreads) {
      if (values[i] > cut.value) sum += row.weight(values[i]);
    }
    uint64_t total = block_scan(sum, shared).total;
    if (equal > 0) total += equal * row.weight(cut.value);
    const uint64_t wanted = top_p_threshold(total, a.rule.top_p);
    // Tokens at the cut that top_k dropped come last, past `wanted`.
    cut = find_cut<true>(row, {fmaxf(cut.value, range.low), range.high}, wanted, shared);
    const uint64_t weight = row.weight(cut.value);
    equal = (wanted - cut.above + weight - 1) / weight;
  }
  draw_token(a, row_number, row, cut.value, equal, shared);
}

}  // namespace

void launch_sample(const SamplingArguments& arguments, Stream stream) {
  if (arguments.num_rows == 0) return;
  launch("sample", sample_rows, {static_cast<unsigned>(arguments.num_rows), kThreads}, stream,
         arguments);
}

}  // namespace lexel::kernels::cuda
