#include "apps/train/guide/word_match.h"

#include <ATen/ops/tensor.h>
#include <algorithm>
#include <map>

#include "kernels/check.h"

namespace lexel::train {
namespace {

bool holds(const std::vector<int64_t>& words, int64_t word) {
  return std::ranges::find(words, word) != words.end();
}

}  // namespace

WordMatch word_match(const at::Tensor& said, const std::vector<data::PictureWords>& truths) {
  check_arg(said.dim() == 2 && said.scalar_type() == at::kLong && said.size(1) >= 1 &&
                said.size(0) == static_cast<int64_t>(truths.size()) && !truths.empty(),
            "word_match", "expected (", truths.size(), ", words) int64, got ", said.scalar_type(),
            " of shape ", said.sizes());
  const at::Tensor flat = said.cpu().contiguous();
  const int64_t* word = flat.const_data_ptr<int64_t>();
  WordMatch sum;
  for (const data::PictureWords& truth : truths) {
    bool name = false, any = false;
    for (int64_t i = 0; i < said.size(1); ++i, ++word) {
      name = name || holds(truth.names, *word);
      any = any || name || holds(truth.others, *word);
      if (i == 0) {
        sum.name_first += name;
        sum.any_first += any;
      }
    }
    sum.name += name;
    sum.any += any;
  }
  const auto count = static_cast<double>(truths.size());
  return {sum.name_first / count, sum.name / count, sum.any_first / count, sum.any / count};
}

std::vector<int64_t> frequent_words(const std::vector<data::PictureWords>& pictures,
                                    double other_weight, int64_t count) {
  std::map<int64_t, double> counts;
  for (const data::PictureWords& picture : pictures) {
    for (const int64_t word : picture.names) counts[word] += 1.0;
    for (const int64_t word : picture.others) counts[word] += other_weight;
  }
  std::vector<std::pair<double, int64_t>> order;  // most frequent first, then by number
  for (const auto& [word, times] : counts) order.emplace_back(-times, word);
  std::ranges::sort(order);
  std::vector<int64_t> words;
  for (size_t i = 0; i < order.size() && static_cast<int64_t>(i) < count; ++i)
    words.push_back(order[i].second);
  return words;
}

WordMatch prior_match(const std::vector<data::PictureWords>& training,
                      const std::vector<data::PictureWords>& truths, double other_weight,
                      int64_t count) {
  const std::vector<int64_t> words = frequent_words(training, other_weight, count);
  const at::Tensor row = at::tensor(words, at::kLong).unsqueeze(0);
  return word_match(row.expand({static_cast<int64_t>(truths.size()), row.size(1)}), truths);
}

}  // namespace lexel::train
