#include "apps/train/generator/caption_noise.h"

#include <algorithm>
#include <vector>

#include "kernels/philox.h"

namespace lexel::train {
namespace {

/// Pieces of a caption, its end not among them, with a run of random ones in it.
void put_run(std::vector<int64_t>& pieces, int64_t vocabulary, Philox& random) {
  const auto place = int64_t(random.uniform_int(pieces.size() + 1));
  const bool instead = random.uniform() < 0.5 && place < int64_t(pieces.size());
  std::vector<int64_t> run(1 + random.uniform_int(kMostStrayPieces));
  for (int64_t& piece : run) piece = int64_t(random.uniform_int(uint64_t(vocabulary)));
  const auto at = pieces.begin() + place;
  pieces.insert(instead ? pieces.erase(at) : at, run.begin(), run.end());
}

}  // namespace

ar::Condition noisy_captions(const ar::Condition& condition, const TextTokenizer& text,
                             double share, uint64_t seed, int64_t first) {
  if (share <= 0 || !condition.text.defined()) return condition;
  ar::Condition result = condition;
  result.text = condition.text.clone();
  result.lengths = condition.lengths.clone();
  const int64_t columns = result.text.size(1);
  auto* const ids = result.text.mutable_data_ptr<int64_t>();
  auto* const lengths = result.lengths.mutable_data_ptr<int64_t>();
  for (int64_t row = 0; row < result.text.size(0); ++row) {
    Philox random(seed, "caption noise", uint64_t(first + row));
    if (lengths[row] <= 1 || random.uniform() >= share) continue;
    int64_t* const begin = ids + row * columns;
    std::vector<int64_t> pieces(begin, begin + lengths[row] - 1);
    put_run(pieces, text.vocabulary_size(), random);
    pieces.resize(std::min<size_t>(pieces.size(), size_t(columns - 1)));
    std::fill(std::copy(pieces.begin(), pieces.end(), begin), begin + columns,
              text.symbols().padding);
    begin[pieces.size()] = text.symbols().end;
    lengths[row] = int64_t(pieces.size()) + 1;
  }
  return result;
}

}  // namespace lexel::train
