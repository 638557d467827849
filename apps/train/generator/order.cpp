#include "apps/train/generator/order.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::train {
namespace {

constexpr int64_t kBlock = 1000;  // samples in which each source has its share, to a thousandth

}  // namespace

SampleOrder::SampleOrder(const std::vector<Source>& sources, uint64_t seed)
    : sources_(sources), seed_(seed), last_(sources.size() + 1) {
  double sum = 0.0, before = 0.0;
  for (const Source& source : sources) sum += source.share;
  check(sum > 0, ErrorKind::kUsage, "expected a source with a share above 0");
  for (const Source& source : sources) {
    first_slot_.push_back(std::llround(before / sum * double(kBlock)));
    before += source.share;
  }
  first_slot_.push_back(kBlock);
}

int64_t SampleOrder::shuffled(Shuffled& last, uint64_t stream, int64_t n, int64_t round,
                              int64_t k) const {
  std::vector<int64_t>& order = last.order[size_t(round % 2)];
  if (last.round[size_t(round % 2)] != round) {
    order.resize(size_t(n));
    std::iota(order.begin(), order.end(), int64_t{0});
    Philox random(seed_ ^ stream << 32, "sample order", uint64_t(round));
    for (size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[random.uniform_int(i)]);
    }
    last.round[size_t(round % 2)] = round;
  }
  return order[size_t(k)];
}

SampleOrder::Place SampleOrder::at(int64_t number) const {
  const std::lock_guard lock(mutex_);
  const int64_t block = number / kBlock;
  // Which of the block's samples this is: those of one source follow one another, so a shuffle mixes the sources.
  const int64_t slot = sources_.size() == 1 ? number % kBlock
                                            : shuffled(last_.back(), sources_.size(), kBlock, block,
                                                       number % kBlock);
  size_t source = 0;
  while (slot >= first_slot_[source + 1]) ++source;
  const int64_t slots = first_slot_[source + 1] - first_slot_[source];
  const int64_t count = block * slots + slot - first_slot_[source];  // samples of it so far
  const int64_t items = sources_[source].items;
  if (items == 0) return {source, count};
  return {source, shuffled(last_[source], source, items, count / items, count % items)};
}

}  // namespace lexel::train
