#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

namespace lexel::train {

/// Which item of which source a run's sample n is: from the seed and n alone, so that batches do not depend on who makes
/// them or on where a run was interrupted. The sources come in their shares within every thousand samples; each
/// source's items come once a round, in another order each round (beside other sources, rounds may mix within the
/// thousand).
class SampleOrder {
 public:
  struct Source {
    int64_t items = 0;   // 0: endless, item k is used once
    double share = 1.0;  // they need not sum to 1
  };
  struct Place {
    size_t source = 0;
    int64_t item = 0;
  };

  /// throws   Error(kUsage) when no source has a share above 0
  SampleOrder(const std::vector<Source>& sources, uint64_t seed);

  Place at(int64_t number) const;  // from any thread

 private:
  /// Permutations of 0..n-1 that were used last, of two rounds that follow: the samples of a block mix them.
  struct Shuffled {
    std::array<int64_t, 2> round = {-1, -1};
    std::array<std::vector<int64_t>, 2> order;
  };
  int64_t shuffled(Shuffled& last, uint64_t stream, int64_t n, int64_t round, int64_t k) const;

  std::vector<Source> sources_;
  std::vector<int64_t> first_slot_;  // of a block, by source; one more at the end
  uint64_t seed_;
  mutable std::mutex mutex_;
  mutable std::vector<Shuffled> last_;  // by source; the last one is of blocks
};

}  // namespace lexel::train
