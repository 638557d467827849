#include "apps/train/generator/chosen_places.h"

#include <ATen/ops/empty.h>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>
#include <vector>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::train {

at::Tensor chosen_places(const at::Tensor& tokens, int64_t count, uint64_t seed, int64_t first) {
  const int64_t batch = tokens.size(0), all = tokens.size(1);
  check_arg(count >= 1 && count <= all, "chosen_places", "expected 1 to ", all, " places, got ",
            count);
  at::Tensor places = at::empty({batch, count}, tokens.options());
  const auto ids = tokens.accessor<int64_t, 2>();
  auto chosen = places.accessor<int64_t, 2>();
  for (int64_t row = 0; row < batch; ++row) {
    std::unordered_map<int64_t, int64_t> often;
    for (int64_t i = 0; i < all; ++i) ++often[ids[row][i]];
    Philox random(seed, "places", static_cast<uint64_t>(first + row));
    std::vector<double> wait(static_cast<size_t>(all));  // exponential, of rate 1 / often
    for (int64_t i = 0; i < all; ++i) {
      wait[static_cast<size_t>(i)] =
          -std::log1p(-random.uniform()) * static_cast<double>(often[ids[row][i]]);
    }
    std::vector<int64_t> order(static_cast<size_t>(all));
    std::iota(order.begin(), order.end(), 0);
    const auto soonest = order.begin() + count;
    std::nth_element(order.begin(), soonest - 1, order.end(), [&](int64_t a, int64_t b) {
      return wait[static_cast<size_t>(a)] < wait[static_cast<size_t>(b)];
    });
    std::sort(order.begin(), soonest);
    std::copy(order.begin(), soonest, &chosen[row][0]);
  }
  return places;
}

}  // namespace lexel::train
