#include "spae/episodes.h"

#include <map>
#include <utility>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::spae {
namespace {

// Moves `count` values drawn without repetition to the front.
template <class T>
void draw_front(std::vector<T>& values, int64_t count, Philox& random) {
  for (size_t i = 0; i < static_cast<size_t>(count); ++i)
    std::swap(values[i], values[i + random.uniform_int(values.size() - i)]);
}

}  // namespace

std::vector<Episode> make_episodes(const std::vector<std::string>& concepts,
                                   const EpisodeOptions& options) {
  const char* const name = "spae::make_episodes";
  check_arg(options.ways >= 2 && options.shots >= 1 && options.count >= 1, name,
            "expected ways >= 2, shots >= 1 and count >= 1, got ", options.ways, ", ",
            options.shots, " and ", options.count);
  std::map<std::string, std::vector<int64_t>> pictures_of;
  for (size_t i = 0; i < concepts.size(); ++i)
    pictures_of[concepts[i]].push_back(static_cast<int64_t>(i));
  std::vector<std::string> usable;
  for (const auto& [word, pictures] : pictures_of) {
    if (static_cast<int64_t>(pictures.size()) > options.shots) usable.push_back(word);
  }
  check_arg(static_cast<int64_t>(usable.size()) >= options.ways, name, "expected at least ",
            options.ways, " concepts with ", options.shots + 1, " pictures each, got ",
            usable.size());

  std::vector<Episode> episodes;
  for (int64_t number = 0; number < options.count; ++number) {
    Philox random(options.seed, "few-shot episode", static_cast<uint64_t>(number));
    std::vector<std::string> classes = usable;
    draw_front(classes, options.ways, random);
    classes.resize(static_cast<size_t>(options.ways));
    Episode episode;
    episode.classes = classes;
    episode.answer = static_cast<int64_t>(random.uniform_int(static_cast<uint64_t>(options.ways)));
    std::vector<std::vector<int64_t>> drawn;
    for (const std::string& word : classes) {
      drawn.push_back(pictures_of.at(word));
      draw_front(drawn.back(), options.shots + 1, random);
    }
    // Each round shows every class once, in an order of its own.
    for (size_t shot = 0; shot < static_cast<size_t>(options.shots); ++shot) {
      std::vector<size_t> order;
      for (size_t i = 0; i < classes.size(); ++i) order.push_back(i);
      draw_front(order, options.ways, random);
      for (const size_t i : order) episode.shots.push_back(drawn[i][shot]);
    }
    episode.query = drawn[static_cast<size_t>(episode.answer)][static_cast<size_t>(options.shots)];
    episodes.push_back(std::move(episode));
  }
  return episodes;
}

}  // namespace lexel::spae
