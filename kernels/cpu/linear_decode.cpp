// A few rows times a large matrix that is read once: bound by memory, if unpacking keeps up.
//
// The lanes of a vector are outputs (layout: linear_decode.h). A unit of 1, 2 or 4 panels is streamed in blocks of inputs; for each
// block the rows of x, a tile of them at a time, are multiplied while the block lies in L1. The sum of an output is: each block from
// its first input to its last, then the blocks in order (times the group's scale). That order knows nothing of the batch, of tiles, units or
// threads, so a row gives the same bits in any company.

#include "kernels/cpu/linear_decode.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <hwy/aligned_allocator.h>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear_decode.cpp"
// The accumulators are an array of vectors, which types without a size (SVE, RVV) do not allow; ARM uses NEON.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h.
#include <hwy/contrib/math/math-inl.h>

#ifndef LEXEL_KERNELS_CPU_LINEAR_DECODE_ONCE
#define LEXEL_KERNELS_CPU_LINEAR_DECODE_ONCE
namespace lexel::kernels::cpu {

constexpr int64_t kMaxBatch = 16;
constexpr int64_t kBlockInputs = 128;  // where no group says so; even, for the pairs of bfloat16

}  // namespace lexel::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;
using Vector = hn::Vec<Lanes>;
constexpr int64_t kLanes = hn::MaxLanes(Lanes());
constexpr int64_t kPanelVectors = kPanel / kLanes;
constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || !HWY_ARCH_X86;

// Sums in registers: rows of a tile times vectors of a unit, 16 of 32 registers, or 8 of 16: the inputs of a step and a weight need the rest.
constexpr int64_t kSums = kManyRegisters ? 16 : 8;
constexpr int64_t kMaxTile = std::max<int64_t>(1, std::min<int64_t>(4, kSums / kPanelVectors));

/// The most panels of a unit for a tile of so many rows.
constexpr int64_t MaxPanels(int64_t tile) {
  const int64_t panels = kSums / (tile * kPanelVectors);
  return panels >= 4 ? 4 : panels >= 2 ? 2 : 1;
}

/// How one format is read. A step is kInputs inputs of a panel, kStep numbers T, whole cache lines; Read gives kLanes outputs of
/// them.
struct Float32Weights {
  using T = float;
  static constexpr int64_t kInputs = 1, kStep = kPanel;
  static HWY_INLINE void Read(const T* HWY_RESTRICT from, Vector (&to)[kInputs]) {
    to[0] = hn::LoadU(Lanes(), from);
  }
};

struct BFloat16Weights {
  using T = uint32_t;  // two of them
  static constexpr int64_t kInputs = 2, kStep = kPanel;
  static HWY_INLINE void Read(const T* HWY_RESTRICT from, Vector (&to)[kInputs]) {
    const hn::Rebind<uint32_t, Lanes> words;
    const auto pair = hn::LoadU(words, from);
    to[0] = hn::BitCast(Lanes(), hn::ShiftLeft<16>(pair));
    to[1] = hn::BitCast(Lanes(), hn::And(pair, hn::Set(words, 0xFFFF0000U)));
  }
};

struct Int8Weights {
  using T = int8_t;
  static constexpr int64_t kInputs = 2, kStep = 2 * kPanel;
  static HWY_INLINE void Read(const T* HWY_RESTRICT from, Vector (&to)[kInputs]) {
    const hn::Rebind<int8_t, Lanes> bytes;
    const hn::Rebind<int32_t, Lanes> words;
    to[0] = hn::ConvertTo(Lanes(), hn::PromoteTo(words, hn::LoadU(bytes, from)));
    to[1] = hn::ConvertTo(Lanes(), hn::PromoteTo(words, hn::LoadU(bytes, from + kPanel)));
  }
};

constexpr int64_t kCacheLine = 64;
// How far ahead of a step its panel is fetched: the streams of 1 to 4 panels are too short for the processor's own prefetching (int8,
// batch 2, from memory, one thread of a Zen 5: 24 GB/s without, 32 with).
constexpr int64_t kAheadBytes = 2048;

/// Where a block lies.
template <class T>
struct Block {
  const T* weights;      // of the unit's first panel
  int64_t panel_stride;  // between panels
  int64_t steps;
  int64_t ahead;        // from a step to the one to fetch now
  const float* scales;  // of the unit's first panel; null: one
  int64_t scale_stride;
};

/// totals (kTile, kPanels kPanel) += scale * (the block's inputs of x, times their weights).
template <class Format, int64_t kTile, int64_t kPanels>
HWY_NOINLINE void AddBlock(const Block<typename Format::T>& block, bool fetch,
                           const float* HWY_RESTRICT x, int64_t x_stride,
                           float* HWY_RESTRICT totals) {
  using T = typename Format::T;
  const Lanes lanes;
  constexpr int64_t kVectors = kPanels * kPanelVectors;
  constexpr int64_t kInputs = Format::kInputs;
  constexpr int64_t kLine = kCacheLine / static_cast<int64_t>(sizeof(T));
  Vector sums[kTile][kVectors];
  HWY_UNROLL(16)
  for (int64_t b = 0; b < kTile; ++b) {
    HWY_UNROLL(16)
    for (int64_t v = 0; v < kVectors; ++v) sums[b][v] = hn::Zero(lanes);
  }
  const T* HWY_RESTRICT weights = block.weights;
  const int64_t panel_stride = block.panel_stride, steps = block.steps;
  const int64_t ahead = fetch ? block.ahead : 0;
  for (int64_t step = 0; step < steps; ++step, weights += Format::kStep, x += kInputs) {
    HWY_UNROLL(16)
    for (int64_t p = 0; p < kPanels; ++p) {
      HWY_UNROLL(16)
      for (int64_t line = 0; line < Format::kStep; line += kLine) {
        __builtin_prefetch(weights + ahead + p * panel_stride + line);
      }
    }
    Vector values[kInputs][kTile];
    HWY_UNROLL(16)
    for (int64_t j = 0; j < kInputs; ++j) {
      HWY_UNROLL(16)
      for (int64_t b = 0; b < kTile; ++b) values[j][b] = hn::Set(lanes, x[b * x_stride + j]);
    }
    HWY_UNROLL(16)
    for (int64_t v = 0; v < kVectors; ++v) {
      Vector weight[kInputs];
      Format::Read(weights + v / kPanelVectors * panel_stride + v % kPanelVectors * kLanes, weight);
      HWY_UNROLL(16)
      for (int64_t j = 0; j < kInputs; ++j) {
        HWY_UNROLL(16)
        for (int64_t b = 0; b < kTile; ++b) {
          sums[b][v] = hn::MulAdd(weight[j], values[j][b], sums[b][v]);
        }
      }
    }
  }
  HWY_UNROLL(16)
  for (int64_t v = 0; v < kVectors; ++v) {
    const Vector scale =
        block.scales == nullptr
            ? hn::Set(lanes, 1.0F)
            : hn::LoadU(lanes, block.scales + v / kPanelVectors * block.scale_stride +
                                   v % kPanelVectors * kLanes);
    HWY_UNROLL(16)
    for (int64_t b = 0; b < kTile; ++b) {
      float* const total = totals + (b * kVectors + v) * kLanes;
      hn::Store(hn::MulAdd(scale, sums[b][v], hn::Load(lanes, total)), lanes, total);
    }
  }
}

/// gelu(x), tanh form, or silu(x): x / (1 + e^-t), t = sqrt(8 / pi) (x + 0.044715 x^3), or x. The exponential's argument is
/// never positive, so it does not overflow.
HWY_INLINE Vector Gate(Vector x, bool gelu) {
  const Lanes lanes;
  const Vector one = hn::Set(lanes, 1.0F);
  Vector t = x;
  if (gelu) {
    const Vector cubic = hn::MulAdd(hn::Mul(hn::Set(lanes, 0.044715F), hn::Mul(x, x)), x, x);
    t = hn::Mul(hn::Set(lanes, 1.5957691216F), cubic);
  }
  const Vector e = hn::Exp(lanes, hn::Neg(hn::Abs(t)));
  const auto negative = hn::Lt(t, hn::Zero(lanes));
  return hn::Mul(x, hn::Div(hn::IfThenElse(negative, e, one), hn::Add(one, e)));
}

/// What follows the sums of one vector of outputs; `residual` null where there is none.
HWY_INLINE Vector Finish(Vector sum, Activation activation, const float* residual) {
  const Lanes lanes;
  if (activation == Activation::kGelu) sum = Gate(sum, true);
  if (activation == Activation::kRelu) {  // a NaN stays one
    sum = hn::IfThenElse(hn::Lt(sum, hn::Zero(lanes)), hn::Zero(lanes), sum);
  }
  return residual == nullptr ? sum : hn::Add(sum, hn::LoadU(lanes, residual));
}

/// Stores one panel of one row's totals: outputs first .. first + count - 1, count <= kPanel.
void StorePanel(const LinearProblem& problem, const float* HWY_RESTRICT totals, int64_t panel,
                int64_t row, float* target) {
  const Lanes lanes;
  const int64_t first = panel * kPanel, count = std::min(kPanel, problem.outputs - first);
  const bool has_scale = problem.format == WeightFormat::kInt8 && problem.group == 0;
  const bool gated = problem.activation >= Activation::kGatedGelu;  // finished by FinishGated
  HWY_ALIGN float bias[kPanel] = {}, residual[kPanel] = {}, result[kPanel];
  if (problem.bias != nullptr) std::copy_n(problem.bias + first, count, bias);
  const bool has_residual = problem.residual != nullptr && !gated;
  if (has_residual) {
    std::copy_n(problem.residual + row * problem.outputs + first, count, residual);
  }
  for (int64_t i = 0; i < kPanel; i += kLanes) {
    const Vector scale =
        has_scale ? hn::LoadU(lanes, problem.scales + first + i) : hn::Set(lanes, 1.0F);
    const Vector sum = hn::MulAdd(scale, hn::Load(lanes, totals + i), hn::Load(lanes, bias + i));
    hn::Store(Finish(sum, problem.activation, has_residual ? residual + i : nullptr), lanes,
              result + i);
  }
  std::copy_n(result, count, target + row * problem.outputs + first);
}

template <class Format, int64_t kPanels>
void Unit(const LinearProblem& problem, const Rows& x, int64_t panel, float* target) {
  using T = typename Format::T;
  constexpr int64_t kOutputs = kPanels * kPanel, kInputs = Format::kInputs, kStep = Format::kStep;
  constexpr int64_t kTile =
      std::max<int64_t>(1, std::min(kMaxTile, kSums / (kPanels * kPanelVectors)));
  HWY_ALIGN float totals[kMaxBatch * kOutputs];
  std::fill_n(totals, problem.batch * kOutputs, 0.0F);
  const int64_t steps = (problem.inputs + kInputs - 1) / kInputs;
  const int64_t block_steps = (problem.group == 0 ? kBlockInputs : problem.group) / kInputs;
  const int64_t num_blocks = (steps + block_steps - 1) / block_steps;
  Block<T> block;
  block.panel_stride = steps * kStep;
  block.weights = static_cast<const T*>(problem.values) + panel * block.panel_stride;
  block.scale_stride = num_blocks * kPanel;
  block.scales = problem.group == 0 ? nullptr : problem.scales + panel * block.scale_stride;
  constexpr int64_t kAhead = kAheadBytes / (kStep * static_cast<int64_t>(sizeof(T)));
  for (int64_t first = 0; first < steps; first += block_steps) {
    block.steps = std::min(block_steps, steps - first);
    // Past the end of the panels the next unit's begin.
    block.ahead = kAhead * kStep;
    if (first + block.steps / 2 + kAhead >= steps)
      block.ahead += (kPanels - 1) * block.panel_stride;
    int64_t row = 0;
    const auto rows = [&]<int64_t kRows>() {
      AddBlock<Format, kRows, kPanels>(block, row == 0, x.data + row * x.stride + first * kInputs,
                                       x.stride, totals + row * kOutputs);
      row += kRows;
    };
    while (row + kTile <= problem.batch) rows.template operator()<kTile>();
    if constexpr (kTile > 3) {
      if (problem.batch - row == 3) rows.template operator()<3>();
    }
    if constexpr (kTile > 2) {
      if (problem.batch - row == 2) rows.template operator()<2>();
    }
    if constexpr (kTile > 1) {
      if (problem.batch - row == 1) rows.template operator()<1>();
    }
    block.weights += block.steps * kStep;
    if (block.scales != nullptr) block.scales += kPanel;
  }
  for (int64_t b = 0; b < problem.batch; ++b) {
    for (int64_t p = 0; p < kPanels; ++p) {
      StorePanel(problem, totals + b * kOutputs + p * kPanel, panel + p, b, target);
    }
  }
}

template <class Format>
void Panels(const LinearProblem& problem, const Rows& x, int64_t first, int64_t last,
            float* target) {
  const int64_t most = MaxPanels(std::min(problem.batch, kMaxTile));
  int64_t panel = first;
  if constexpr (MaxPanels(1) >= 4) {
    for (; most >= 4 && panel + 4 <= last; panel += 4) Unit<Format, 4>(problem, x, panel, target);
  }
  if constexpr (MaxPanels(1) >= 2) {
    for (; most >= 2 && panel + 2 <= last; panel += 2) Unit<Format, 2>(problem, x, panel, target);
  }
  for (; panel < last; ++panel) Unit<Format, 1>(problem, x, panel, target);
}

/// Panels first .. last-1 of the outputs into target (B, O).
void MultiplyPanels(const LinearProblem& problem, const Rows& x, int64_t first, int64_t last,
                    float* target) {
  switch (problem.format) {
    case WeightFormat::kFloat32:
      return Panels<Float32Weights>(problem, x, first, last, target);
    case WeightFormat::kBFloat16:
      return Panels<BFloat16Weights>(problem, x, first, last, target);
    case WeightFormat::kInt8:
      return Panels<Int8Weights>(problem, x, first, last, target);
  }
}

/// y = gate(products) * values + residual for elements first .. last-1 of (B, O / 2); products (B, O).
void FinishGated(const LinearProblem& problem, const float* HWY_RESTRICT products, int64_t first,
                 int64_t last) {
  const Lanes lanes;
  const int64_t half = problem.outputs / 2;
  const bool gelu = problem.activation == Activation::kGatedGelu;
  while (first < last) {
    const int64_t row = first / half, column = first % half;
    const int64_t count = std::min({kPanel, half - column, last - first});
    const float* const source = products + row * problem.outputs + column;
    HWY_ALIGN float gate[kPanel] = {}, value[kPanel] = {}, residual[kPanel] = {};
    std::copy_n(source, count, gate);
    std::copy_n(source + half, count, value);
    if (problem.residual != nullptr) std::copy_n(problem.residual + first, count, residual);
    for (int64_t i = 0; i < kPanel; i += kLanes) {
      const Vector product =
          hn::Mul(Gate(hn::Load(lanes, gate + i), gelu), hn::Load(lanes, value + i));
      hn::Store(
          problem.residual == nullptr ? product : hn::Add(product, hn::Load(lanes, residual + i)),
          lanes, gate + i);
    }
    std::copy_n(gate, count, problem.y + first);
    first += count;
  }
}

/// Sum of term(vector of x) over a row, in a fixed order.
template <class Term>
HWY_INLINE float SumOf(const float* HWY_RESTRICT x, int64_t size, Term&& term) {
  const Lanes lanes;
  constexpr int64_t kParts = 4;
  Vector sums[kParts];
  for (Vector& sum : sums) sum = hn::Zero(lanes);
  int64_t i = 0;
  for (; i + kParts * kLanes <= size; i += kParts * kLanes) {
    HWY_UNROLL(4)
    for (int64_t p = 0; p < kParts; ++p) {
      sums[p] = hn::Add(sums[p], term(hn::LoadU(lanes, x + i + p * kLanes)));
    }
  }
  HWY_ALIGN float rest[kLanes];
  float total = hn::GetLane(
      hn::SumOfLanes(lanes, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
  for (; i < size; ++i) {
    hn::Store(term(hn::Set(lanes, x[i])), lanes, rest);
    total += rest[0];
  }
  return total;
}

/// One normalised row.
void Normalise(const LinearProblem& problem, const float* HWY_RESTRICT x,
               float* HWY_RESTRICT target) {
  const Lanes lanes;
  const int64_t size = problem.inputs;
  const bool centred = problem.norm_bias != nullptr;
  float mean = 0.0F;
  if (centred) mean = SumOf(x, size, [](Vector v) { return v; }) / static_cast<float>(size);
  const Vector middle = hn::Set(lanes, mean);
  const float squares = SumOf(x, size, [&](Vector v) {
    const Vector difference = hn::Sub(v, middle);
    return hn::Mul(difference, difference);
  });
  const float scale = 1.0F / std::sqrt(squares / static_cast<float>(size) + problem.norm_epsilon);
  const Vector scales = hn::Set(lanes, scale);
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    const Vector unit = hn::Mul(hn::Sub(hn::LoadU(lanes, x + i), middle), scales);
    const Vector weight = hn::LoadU(lanes, problem.norm_weight + i);
    hn::StoreU(centred ? hn::MulAdd(unit, weight, hn::LoadU(lanes, problem.norm_bias + i))
                       : hn::Mul(unit, weight),
               lanes, target + i);
  }
  for (; i < size; ++i) {
    target[i] =
        (x[i] - mean) * scale * problem.norm_weight[i] + (centred ? problem.norm_bias[i] : 0.0F);
  }
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {

HWY_EXPORT(MultiplyPanels);
HWY_EXPORT(FinishGated);
HWY_EXPORT(Normalise);

bool needs_preparation(const LinearProblem& problem) {
  // A step of two inputs reads one x past an odd row.
  return problem.norm_weight != nullptr ||
         (problem.format != WeightFormat::kFloat32 && problem.inputs % 2 != 0);
}

void prepare_rows(const LinearProblem& problem, float* target) {
  const int64_t inputs = problem.inputs, stride = prepared_stride(problem);
  for (int64_t b = 0; b < problem.batch; ++b) {
    float* const row = target + b * stride;
    row[stride - 1] = 0.0F;
    if (problem.norm_weight == nullptr) {
      std::copy_n(problem.x + b * inputs, inputs, row);
    } else {
      HWY_DYNAMIC_DISPATCH(Normalise)(problem, problem.x + b * inputs, row);
    }
  }
}

void multiply_panels(const LinearProblem& problem, const Rows& x, int64_t first, int64_t last) {
  HWY_DYNAMIC_DISPATCH(MultiplyPanels)(problem, x, first, last, problem.y);
}

void linear_decode(const LinearProblem& problem) {
  constexpr int64_t kGrainBytes = 1 << 15;  // of weights that are worth a thread: about 2 us
  constexpr int64_t kGrainElements = 1 << 12;
  const int64_t inputs = problem.inputs, outputs = problem.outputs, batch = problem.batch;

  Rows x{problem.x, inputs};
  hwy::AlignedFreeUniquePtr<float[]> prepared;
  if (needs_preparation(problem)) {
    const int64_t stride = prepared_stride(problem);
    prepared = hwy::AllocateAligned<float>(static_cast<size_t>(batch * stride));
    prepare_rows(problem, prepared.get());
    x = {prepared.get(), stride};
  }

  const bool gated = problem.activation >= Activation::kGatedGelu;
  hwy::AlignedFreeUniquePtr<float[]> products;  // (B, O)
  if (gated) products = hwy::AllocateAligned<float>(static_cast<size_t>(batch * outputs));
  float* const target = gated ? products.get() : problem.y;

  const int64_t bytes = problem.format == WeightFormat::kFloat32    ? 4
                        : problem.format == WeightFormat::kBFloat16 ? 2
                                                                    : 1;
  at::parallel_for(0, num_panels(problem), 1 + kGrainBytes / (kPanel * inputs * bytes),
                   [&](int64_t first, int64_t last) {
                     HWY_DYNAMIC_DISPATCH(MultiplyPanels)(problem, x, first, last, target);
                   });
  if (!gated) return;
  at::parallel_for(0, batch * outputs / 2, kGrainElements, [&](int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(FinishGated)(problem, products.get(), first, last);
  });
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
