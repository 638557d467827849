// Scores single codes as a panel does, to the bit, for each of Highway's targets: included after <hwy/highway.h> by code of
// foreach_target.

#if defined(LEXEL_KERNELS_CPU_CODEBOOK_RESCORING_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef LEXEL_KERNELS_CPU_CODEBOOK_RESCORING_INL_H
#undef LEXEL_KERNELS_CPU_CODEBOOK_RESCORING_INL_H
#else
#define LEXEL_KERNELS_CPU_CODEBOOK_RESCORING_INL_H
#endif

#include "kernels/cpu/codebook_panels.h"

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Float32 scores of pairs of a row and a code, a few at a time so that their chains of additions overlap.
class Rescoring {
 public:
  Rescoring(const float* rows, const CodesInPlay& codes, const Winners& winners)
      : rows_(rows), codes_(codes), winners_(winners) {}

  void add(int64_t row, int64_t place, float bias) {
    pairs_[count_++] = {row, place, bias};
    if (count_ == kPairs) finish();
  }

  void finish() {
    const hn::CappedTag<float, 1> one;
    using Scalar = hn::Vec<decltype(one)>;
    const float* x[kPairs];
    const float* c[kPairs];
    Scalar sums[kPairs];
    for (int64_t i = 0; i < kPairs; ++i) {
      const Pair& pair = pairs_[i < count_ ? i : 0];
      x[i] = rows_ + pair.row * codes_.width;
      c[i] = codes_.code(pair.place);
      sums[i] = hn::Set(one, pair.bias);
    }
    for (int64_t d = 0; d < codes_.width; ++d) {
      HWY_UNROLL(8)
      for (int64_t i = 0; i < kPairs; ++i) {
        sums[i] = hn::MulAdd(hn::LoadU(one, x[i] + d), hn::LoadU(one, c[i] + d), sums[i]);
      }
    }
    for (int64_t i = 0; i < count_; ++i) {
      winners_.insert(pairs_[i].row, codes_.id(pairs_[i].place), hn::GetLane(sums[i]));
    }
    count_ = 0;
  }

 private:
  static constexpr int64_t kPairs = 8;
  struct Pair {
    int64_t row, place;
    float bias;
  };
  const float* rows_;
  const CodesInPlay& codes_;
  const Winners& winners_;
  Pair pairs_[kPairs] = {};
  int64_t count_ = 0;
};

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
