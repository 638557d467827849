#include "spae/word_tasks.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::spae {
namespace {

using Words = std::vector<std::string>;

constexpr std::pair<const char*, WordTask> kTasks[] = {
    {"deblur", WordTask::kDeblur},     {"inpaint", WordTask::kInpaint},
    {"outpaint", WordTask::kOutpaint}, {"rotate", WordTask::kRotate},
    {"shift", WordTask::kShift},       {"caption", WordTask::kCaption}};

// Calls visit(side, row, column, place of the word) for each word of a pyramid, in order.
template <class Visit>
void for_each_place(const std::vector<int64_t>& sides, Visit&& visit) {
  int64_t begin = 0;
  for (const int64_t side : sides) {
    for (int64_t row = 0; row < side; ++row) {
      for (int64_t column = 0; column < side; ++column)
        visit(side, row, column, begin + row * side + column);
    }
    begin += side * side;
  }
}

}  // namespace

WordTask word_task(const std::string& name) {
  for (const auto& [task_name, task] : kTasks) {
    if (name == task_name) return task;
  }
  fail(ErrorKind::kUsage,
       "expected deblur, inpaint, outpaint, rotate, shift or caption as a task, got ", name);
}

int64_t num_words(const std::vector<int64_t>& sides) {
  check_arg(!sides.empty(), "spae::num_words", "expected the sides of layers, got none");
  int64_t count = 0;
  for (const int64_t side : sides) {
    check_arg(side >= 1 && side <= 1024, "spae::num_words", "expected sides in 1..1024, got ",
              side);
    count += side * side;
  }
  return count;
}

std::vector<bool> hidden_places(WordTask task, const std::vector<int64_t>& sides) {
  std::vector<bool> hidden(static_cast<size_t>(num_words(sides)));
  const auto is_middle = [](int64_t side, int64_t place) {
    return 4 * place + 4 > side && 4 * place < 3 * side;  // [side / 4, 3 side / 4) is touched
  };
  for_each_place(sides, [&](int64_t side, int64_t row, int64_t column, int64_t place) {
    bool hide = false;
    if (task == WordTask::kInpaint) hide = is_middle(side, row) && is_middle(side, column);
    if (task == WordTask::kOutpaint) hide = 2 * row + 2 > side;
    hidden[static_cast<size_t>(place)] = hide;
  });
  return hidden;
}

Words moved_words(WordTask task, const Words& words, const std::vector<int64_t>& sides) {
  check_arg(static_cast<int64_t>(words.size()) == num_words(sides), "spae::moved_words",
            "expected ", num_words(sides), " words, got ", words.size());
  Words moved = words;
  for_each_place(sides, [&](int64_t side, int64_t row, int64_t column, int64_t place) {
    const int64_t begin = place - row * side - column;
    int64_t from = place;
    if (task == WordTask::kRotate) from = begin + (side - 1 - column) * side + row;
    if (task == WordTask::kShift) from = begin + row * side + (column + side - side / 4) % side;
    moved[static_cast<size_t>(place)] = words[static_cast<size_t>(from)];
  });
  return moved;
}

Words corrupted(const Words& words, const Words& list, double share, uint64_t seed,
                uint64_t index) {
  check_arg(share >= 0 && share <= 1 && !list.empty(), "spae::corrupted",
            "expected a share in 0..1 and words to take, got ", share, " and ", list.size());
  Philox random(seed, "corrupted", index);
  std::vector<size_t> places(words.size());
  std::iota(places.begin(), places.end(), size_t{0});
  const auto count = static_cast<size_t>(std::lround(share * static_cast<double>(words.size())));
  Words result = words;
  for (size_t i = 0; i < count; ++i) {
    std::swap(places[i], places[i + random.uniform_int(words.size() - i)]);
    result[places[i]] = list[random.uniform_int(list.size())];
  }
  return result;
}

std::vector<double> falling_corruption(int64_t pairs, double first, double step) {
  std::vector<double> shares;
  for (int64_t i = 0; i < pairs; ++i)
    shares.push_back(std::max(0.0, first - step * static_cast<double>(i)));
  return shares;
}

std::vector<DrawingPair> task_pairs(WordTask task, const std::vector<Words>& pictures,
                                    const std::vector<int64_t>& sides, const Words& list,
                                    uint64_t seed) {
  check_arg(task != WordTask::kCaption, "spae::task_pairs",
            "expected a task on pictures, got caption");
  const std::vector<double> shares = falling_corruption(static_cast<int64_t>(pictures.size()));
  const std::vector<bool> hidden = hidden_places(task, sides);
  std::vector<DrawingPair> pairs;
  for (size_t i = 0; i < pictures.size(); ++i) {
    DrawingPair pair{pictures[i], {}, moved_words(task, pictures[i], sides)};
    if (task == WordTask::kDeblur) pair.input = corrupted(pictures[i], list, shares[i], seed, i);
    for (size_t place = 0; place < hidden.size(); ++place) {
      if (hidden[place]) pair.input[place].clear();
    }
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

std::vector<DrawingPass> progressive_plan(const std::vector<int64_t>& sides, int64_t words_per_pass,
                                          int64_t parallel_layer) {
  num_words(sides);  // checks
  const auto layers = static_cast<int64_t>(sides.size());
  check_arg(words_per_pass >= 1 && parallel_layer >= 0 && parallel_layer <= layers,
            "spae::progressive_plan", "expected words_per_pass >= 1 and a layer in 0..", layers,
            ", got ", words_per_pass, " and ", parallel_layer);
  std::vector<DrawingPass> passes;
  int64_t begin = 0;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const int64_t side = sides[static_cast<size_t>(layer)], end = begin + side * side;
    const bool is_parallel = layer >= parallel_layer;
    const int64_t step = is_parallel ? 1 : words_per_pass;
    for (int64_t place = begin; place < end; place += step)
      passes.push_back({place, std::min(place + step, end), is_parallel ? begin : place});
    begin = end;
  }
  return passes;
}

}  // namespace lexel::spae
