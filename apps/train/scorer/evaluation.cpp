#include "apps/train/scorer/evaluation.h"

#include <cmath>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::train {
namespace {

/// An end of Wilson's interval: `side` is -1 or 1.
double wilson(int64_t right, int64_t of, double side) {
  if (of == 0) return side < 0 ? 0.0 : 1.0;
  const double z = 1.959964, n = double(of), p = double(right) / n;
  const double centre = p + z * z / (2.0 * n);
  const double spread = z * std::sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n));
  return (centre + side * spread) / (1.0 + z * z / n);
}

}  // namespace

double Share::low() const { return wilson(right, of, -1.0); }
double Share::high() const { return wilson(right, of, 1.0); }

Share recall(const at::Tensor& cosines, const std::vector<Content>& contents, int64_t distractors,
             uint64_t seed) {
  const auto count = static_cast<int64_t>(contents.size());
  const at::Tensor table = cosines.to(at::kCPU, at::kFloat).contiguous();
  check_arg(table.dim() == 2 && table.size(0) == count && table.size(1) == count, "recall",
            "expected (", count, ", ", count, ") cosines, got ", table.sizes());
  Share share;
  for (int64_t k = 0; k < count; ++k) {
    const float* row = table.const_data_ptr<float>() + k * count;
    std::vector<int64_t> others;
    for (int64_t j = 0; j < count; ++j)
      if (j != k && !could_be(contents[size_t(j)], contents[size_t(k)])) others.push_back(j);
    Philox random(seed, "scorer's distractors", uint64_t(k));
    bool first = true;
    for (int64_t d = 0; d < distractors && !others.empty(); ++d) {
      const size_t chosen = random.uniform_int(others.size());
      first = first && row[k] > row[others[chosen]];
      others[chosen] = others.back();
      others.pop_back();
    }
    ++share.of;
    share.right += first;
  }
  return share;
}

std::map<Change, Share> told_apart(const at::Tensor& own, const at::Tensor& changed,
                                   const HeldOutScenes& scenes) {
  const at::Tensor mine = own.to(at::kCPU, at::kFloat).contiguous();
  const at::Tensor theirs = changed.to(at::kCPU, at::kFloat).contiguous();
  const float* next = theirs.const_data_ptr<float>();
  std::map<Change, Share> shares;
  for (size_t k = 0; k < scenes.changed.size(); ++k) {
    for (const ChangedCaption& caption : scenes.changed[k]) {
      Share& share = shares[caption.change];
      ++share.of;
      share.right += mine.const_data_ptr<float>()[k] > *next++;
    }
  }
  return shares;
}

}  // namespace lexel::train
