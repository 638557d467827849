// One query against a cache that is read once: bound by memory.
//
// The keys that a row sees (runs, key_runs.h) are cut into chunks of kChunk; a work item is one chunk of one key head, so that a few long
// rows fill many threads too. An item gives each of its query heads the largest score, the sum of the weights
// e^(score - largest) and the weighted sum of values; then the chunks of a head are added in their order. Chunks depend on the
// mask and the length alone, so threads and neighbours do not change a bit.

#include "kernels/cpu/decode_attention.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <array>
#include <c10/util/BFloat16.h>
#include <cmath>
#include <cstddef>
#include <hwy/aligned_allocator.h>
#include <limits>
#include <vector>

#include "kernels/int8_rounding.h"
#include "kernels/key_runs.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/decode_attention.cpp"
// The accumulators are an array of vectors, which types without a size (SVE, RVV) do not allow; ARM uses NEON.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h.
#include <hwy/contrib/math/math-inl.h>

#ifndef LEXEL_KERNELS_CPU_DECODE_ATTENTION_ONCE
#define LEXEL_KERNELS_CPU_DECODE_ATTENTION_ONCE
namespace lexel::kernels::cpu {

constexpr int64_t kChunk = 256;  // keys
constexpr int64_t kMaxWidth = 128;

/// A chunk of the keys that row `row` sees: numbers first .. first + count - 1 of them.
struct Chunk {
  int64_t row, key_head;
  int64_t first, count;
  int64_t place;  // of its first partial result, one a query head, in chunk order
};

/// What a chunk leaves for one query head.
struct Partial {
  float largest, sum;
  HWY_ALIGN std::array<float, kMaxWidth> values;
};

/// Calls visit(key, count) for each run of the chunk's keys.
template <class Visit>
void for_each_run(const DecodeProblem& problem, const Chunk& chunk, Visit&& visit) {
  int64_t seen = 0;  // keys of the runs before
  for (int64_t i = 0; i < num_key_runs(problem.mask); ++i) {
    const KeyRun run = key_run(problem.mask, problem.lengths[chunk.row], i);
    const int64_t size = run.end - run.begin;
    const int64_t begin = std::clamp<int64_t>(chunk.first - seen, 0, size);
    const int64_t end = std::clamp<int64_t>(chunk.first + chunk.count - seen, 0, size);
    if (begin < end) visit(run.begin + begin, end - begin);
    seen += size;
  }
}

}  // namespace lexel::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;
using HalfLanes = hn::CappedTag<float, 8>;  // for widths that are no multiple of 16

/// How one format is read, as float32.
struct Float32Cache {
  using T = float;
  template <class D>
  static HWY_INLINE hn::Vec<D> Read(D lanes, const T* HWY_RESTRICT from) {
    return hn::LoadU(lanes, from);
  }
};

struct BFloat16Cache {
  using T = uint16_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> Read(D lanes, const T* HWY_RESTRICT from) {
    const hn::Rebind<uint16_t, D> halves;
    const hn::Rebind<uint32_t, D> words;
    return hn::BitCast(lanes, hn::ShiftLeft<16>(hn::PromoteTo(words, hn::LoadU(halves, from))));
  }
};

struct Int8Cache {
  using T = int8_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> Read(D lanes, const T* HWY_RESTRICT from) {
    const hn::Rebind<int8_t, D> bytes;
    const hn::Rebind<int32_t, D> words;
    return hn::ConvertTo(lanes, hn::PromoteTo(words, hn::LoadU(bytes, from)));
  }
};

#if HWY_TARGET != HWY_SCALAR
/// The sum of a vector's blocks of four lanes.
template <class D>
HWY_INLINE hn::Vec<hn::CappedTag<float, 4>> AddBlocks(D lanes, hn::Vec<D> x) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return x;
  } else {
    const hn::Half<D> half;
    return AddBlocks(half, hn::Add(hn::LowerHalf(half, x), hn::UpperHalf(half, x)));
  }
}

/// The four sums of the lanes of a, b, c and d.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<hn::CappedTag<float, 4>> FourSums(D lanes, V a, V b, V c, V d) {
  const hn::Repartition<uint64_t, D> pairs;
  const auto ab = hn::BitCast(
      pairs, hn::Add(hn::InterleaveLower(lanes, a, b), hn::InterleaveUpper(lanes, a, b)));
  const auto cd = hn::BitCast(
      pairs, hn::Add(hn::InterleaveLower(lanes, c, d), hn::InterleaveUpper(lanes, c, d)));
  return AddBlocks(lanes, hn::Add(hn::BitCast(lanes, hn::InterleaveLower(pairs, ab, cd)),
                                  hn::BitCast(lanes, hn::InterleaveUpper(pairs, ab, cd))));
}
#endif

/// scores[j] = q . keys[j], j = 0 .. count-1.
template <class Format, class D>
HWY_NOINLINE void Scores(D lanes, const float* HWY_RESTRICT q,
                         const typename Format::T* HWY_RESTRICT keys, int64_t count, int64_t width,
                         float* HWY_RESTRICT scores) {
  constexpr int64_t kLanes = hn::MaxLanes(D());
  int64_t j = 0;
#if HWY_TARGET != HWY_SCALAR
  for (; j + 4 <= count; j += 4, keys += 4 * width) {
    auto a = hn::Zero(lanes), b = a, c = a, d = a;
    for (int64_t i = 0; i < width; i += kLanes) {
      const auto query = hn::LoadU(lanes, q + i);
      a = hn::MulAdd(query, Format::Read(lanes, keys + i), a);
      b = hn::MulAdd(query, Format::Read(lanes, keys + i + width), b);
      c = hn::MulAdd(query, Format::Read(lanes, keys + i + 2 * width), c);
      d = hn::MulAdd(query, Format::Read(lanes, keys + i + 3 * width), d);
    }
    hn::StoreU(FourSums(lanes, a, b, c, d), hn::CappedTag<float, 4>(), scores + j);
  }
#endif
  for (; j < count; ++j, keys += width) {
    auto sum = hn::Zero(lanes);
    for (int64_t i = 0; i < width; i += kLanes) {
      sum = hn::MulAdd(hn::LoadU(lanes, q + i), Format::Read(lanes, keys + i), sum);
    }
    scores[j] = hn::GetLane(hn::SumOfLanes(lanes, sum));
  }
}

/// out += sum of weights[j] values[j], for kVectors vectors of the width; keys are shared among sums, so that eight
/// multiply-adds are under way.
template <class Format, int64_t kVectors, class D>
HWY_NOINLINE void AddValues(D lanes, const float* HWY_RESTRICT weights,
                            const typename Format::T* HWY_RESTRICT values, int64_t count,
                            int64_t width, float* HWY_RESTRICT out) {
  constexpr int64_t kLanes = hn::MaxLanes(D());
  constexpr int64_t kParts = 8 / kVectors;
  hn::Vec<D> sums[kParts][kVectors];
  HWY_UNROLL(8)
  for (int64_t p = 0; p < kParts; ++p) {
    HWY_UNROLL(8)
    for (int64_t v = 0; v < kVectors; ++v) sums[p][v] = hn::Zero(lanes);
  }
  int64_t j = 0;
  for (; j + kParts <= count; j += kParts) {
    HWY_UNROLL(8)
    for (int64_t p = 0; p < kParts; ++p) {
      const auto weight = hn::Set(lanes, weights[j + p]);
      HWY_UNROLL(8)
      for (int64_t v = 0; v < kVectors; ++v) {
        sums[p][v] = hn::MulAdd(weight, Format::Read(lanes, values + (j + p) * width + v * kLanes),
                                sums[p][v]);
      }
    }
  }
  for (; j < count; ++j) {
    const auto weight = hn::Set(lanes, weights[j]);
    HWY_UNROLL(8)
    for (int64_t v = 0; v < kVectors; ++v) {
      sums[0][v] =
          hn::MulAdd(weight, Format::Read(lanes, values + j * width + v * kLanes), sums[0][v]);
    }
  }
  HWY_UNROLL(8)
  for (int64_t v = 0; v < kVectors; ++v) {
    HWY_UNROLL(8)
    for (int64_t p = 1; p < kParts; ++p) sums[0][v] = hn::Add(sums[0][v], sums[p][v]);
    float* const target = out + v * kLanes;
    hn::StoreU(hn::Add(hn::LoadU(lanes, target), sums[0][v]), lanes, target);
  }
}

/// Turns scores into weights e^(score - largest), 0 past `count`, up to whole vectors. A NaN stays one.
void Weigh(float* HWY_RESTRICT scores, int64_t count, Partial& partial) {
  const Lanes lanes;
  const int64_t kLanes = hn::MaxLanes(Lanes());
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
  std::fill(scores + count, scores + padded, -std::numeric_limits<float>::infinity());
  auto top = hn::Load(lanes, scores);
  for (int64_t j = kLanes; j < padded; j += kLanes) top = hn::Max(top, hn::Load(lanes, scores + j));
  const auto largest = hn::MaxOfLanes(lanes, top);
  auto sum = hn::Zero(lanes);
  for (int64_t j = 0; j < padded; j += kLanes) {
    const auto x = hn::Sub(hn::Load(lanes, scores + j), largest);
    const auto weight = hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(lanes, x));
    hn::Store(weight, lanes, scores + j);
    sum = hn::Add(sum, weight);
  }
  partial.largest = hn::GetLane(largest);
  partial.sum = hn::GetLane(hn::SumOfLanes(lanes, sum));
}

template <class Format, class D>
void AttendChunk(D lanes, const DecodeProblem& problem, const Chunk& chunk, Partial* partials) {
  using T = typename Format::T;
  constexpr int64_t kLanes = hn::MaxLanes(D());
  const int64_t width = problem.width, ratio = problem.heads / problem.key_heads;
  const int64_t start = (chunk.row * problem.key_heads + chunk.key_head) * problem.capacity;
  const T* const keys = static_cast<const T*>(problem.keys) + start * width;
  const T* const values = static_cast<const T*>(problem.values) + start * width;
  for (int64_t h = 0; h < ratio; ++h) {
    Partial& partial = partials[chunk.place + h];
    const float* const q =
        problem.q + (chunk.row * problem.heads + chunk.key_head * ratio + h) * width;
    HWY_ALIGN float scores[kChunk];
    int64_t done = 0;
    for_each_run(problem, chunk, [&](int64_t key, int64_t count) {
      Scores<Format>(lanes, q, keys + key * width, count, width, scores + done);
      if (problem.key_scales != nullptr) {
        for (int64_t j = 0; j < count; ++j) scores[done + j] *= problem.key_scales[start + key + j];
      }
      done += count;
    });
    Weigh(scores, chunk.count, partial);
    std::fill_n(partial.values.begin(), width, 0.0F);
    done = 0;
    for_each_run(problem, chunk, [&](int64_t key, int64_t count) {
      float* const weights = scores + done;
      if (problem.value_scales != nullptr) {
        for (int64_t j = 0; j < count; ++j) weights[j] *= problem.value_scales[start + key + j];
      }
      const T* const from = values + key * width;
      float* const to = partial.values.data();
      int64_t i = 0;
      for (; i + 8 * kLanes <= width; i += 8 * kLanes) {
        AddValues<Format, 8>(lanes, weights, from + i, count, width, to + i);
      }
      for (; i + 4 * kLanes <= width; i += 4 * kLanes) {
        AddValues<Format, 4>(lanes, weights, from + i, count, width, to + i);
      }
      for (; i < width; i += kLanes) {
        AddValues<Format, 1>(lanes, weights, from + i, count, width, to + i);
      }
      done += count;
    });
  }
}

void Attend(const DecodeProblem& problem, const Chunk& chunk, Partial* partials) {
  const auto with = [&](auto lanes) {
    switch (problem.format) {
      case CacheFormat::kFloat32:
        return AttendChunk<Float32Cache>(lanes, problem, chunk, partials);
      case CacheFormat::kBFloat16:
        return AttendChunk<BFloat16Cache>(lanes, problem, chunk, partials);
      case CacheFormat::kInt8:
        return AttendChunk<Int8Cache>(lanes, problem, chunk, partials);
    }
  };
  if (problem.width % static_cast<int64_t>(hn::MaxLanes(Lanes())) == 0) {
    with(Lanes());
  } else {
    with(HalfLanes());
  }
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {
namespace {

/// One head's chunks, `stride` partials apart, added in their order; zeros where there are none.
void add_chunks(const Partial* partials, int64_t num_chunks, int64_t stride, int64_t width,
                float* out) {
  std::fill_n(out, width, 0.0F);
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t c = 0; c < num_chunks; ++c) {
    largest = std::max(largest, partials[c * stride].largest);
  }
  float sum = 0.0F;
  for (int64_t c = 0; c < num_chunks; ++c) {
    const Partial& partial = partials[c * stride];
    const float weight = std::exp(partial.largest - largest);
    sum += weight * partial.sum;
    for (int64_t i = 0; i < width; ++i) {
      out[i] += weight * partial.values[static_cast<size_t>(i)];
    }
  }
  if (num_chunks == 0) return;
  for (int64_t i = 0; i < width; ++i) out[i] /= sum;
}

}  // namespace

HWY_EXPORT(Attend);

void decode_attention_of_head(const DecodeProblem& problem) {
  constexpr int64_t kFew = 8;  // chunks that need no memory of the heap
  int64_t seen = 0;
  for (int64_t i = 0; i < num_key_runs(problem.mask); ++i) {
    const KeyRun run = key_run(problem.mask, problem.lengths[0], i);
    seen += run.end - run.begin;
  }
  const int64_t num_chunks = (seen + kChunk - 1) / kChunk;
  std::array<Partial, kFew> few;
  hwy::AlignedFreeUniquePtr<Partial[]> many;
  if (num_chunks > kFew) many = hwy::AllocateAligned<Partial>(static_cast<size_t>(num_chunks));
  Partial* const partials = num_chunks > kFew ? many.get() : few.data();
  for (int64_t c = 0; c < num_chunks; ++c) {
    const Chunk chunk{0, 0, c * kChunk, std::min(kChunk, seen - c * kChunk), c};
    HWY_DYNAMIC_DISPATCH(Attend)(problem, chunk, partials);
  }
  add_chunks(partials, num_chunks, 1, problem.width, problem.out);
}

void write_vector(const float* vector, int64_t width, CacheFormat format, void* cache,
                  float* scales, int64_t place) {
  switch (format) {
    case CacheFormat::kFloat32:
      std::copy_n(vector, width, static_cast<float*>(cache) + place * width);
      break;
    case CacheFormat::kBFloat16:
      std::copy_n(vector, width, static_cast<at::BFloat16*>(cache) + place * width);
      break;
    case CacheFormat::kInt8: {
      int8_t* const target = static_cast<int8_t*>(cache) + place * width;
      float largest = 0.0F;
      for (int64_t i = 0; i < width; ++i) {
        const float size = std::abs(vector[i]);
        if (!(size <= largest)) largest = size;
        if (std::isnan(largest)) break;
      }
      scales[place] = int8_scale(largest);
      for (int64_t i = 0; i < width; ++i) target[i] = to_int8(vector[i], scales[place]);
    }
  }
}

void decode_attention(const DecodeProblem& problem) {
  constexpr int64_t kGrainKeys = 256;  // read by a thread, at least: about 2 us
  const int64_t ratio = problem.heads / problem.key_heads;
  std::vector<Chunk> chunks;
  std::vector<int64_t> first_chunk;  // of each row
  for (int64_t b = 0; b < problem.batch; ++b) {
    first_chunk.push_back(static_cast<int64_t>(chunks.size()));
    int64_t seen = 0;
    for (int64_t i = 0; i < num_key_runs(problem.mask); ++i) {
      const KeyRun run = key_run(problem.mask, problem.lengths[b], i);
      seen += run.end - run.begin;
    }
    for (int64_t g = 0; g < problem.key_heads; ++g) {
      for (int64_t first = 0; first < seen; first += kChunk) {
        chunks.push_back({b, g, first, std::min(kChunk, seen - first),
                          static_cast<int64_t>(chunks.size()) * ratio});
      }
    }
  }
  first_chunk.push_back(static_cast<int64_t>(chunks.size()));
  const auto num_chunks = static_cast<int64_t>(chunks.size());
  const auto partials =
      hwy::AllocateAligned<Partial>(static_cast<size_t>(std::max<int64_t>(1, num_chunks * ratio)));
  int64_t keys = 0;
  for (const Chunk& chunk : chunks) keys += chunk.count;
  const int64_t grain = num_chunks == 0 ? 1 : 1 + kGrainKeys * num_chunks / (keys * ratio);
  at::parallel_for(0, num_chunks, grain, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      HWY_DYNAMIC_DISPATCH(Attend)(problem, chunks[static_cast<size_t>(c)], partials.get());
    }
  });
  const int64_t rows = problem.batch * problem.heads;
  at::parallel_for(0, rows, 1 + 16384 / problem.width, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const auto b = static_cast<size_t>(row / problem.heads);
      const int64_t head = row % problem.heads;
      const int64_t per_head = (first_chunk[b + 1] - first_chunk[b]) / problem.key_heads;
      const int64_t place = (first_chunk[b] + head / ratio * per_head) * ratio + head % ratio;
      add_chunks(partials.get() + place, per_head, ratio, problem.width,
                 problem.out + row * problem.width);
    }
  });
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
