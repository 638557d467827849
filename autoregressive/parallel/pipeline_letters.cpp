#include "autoregressive/parallel/pipeline_letters.h"

#include <algorithm>
#include <iterator>
#include <set>

namespace lexel::parallel {
namespace {

Route route_of(const Plan& plan, BlockRange Stage::*blocks) {
  Route route{blocks, {}};
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    if ((plan.stages[i].*blocks).size() > 0) route.chunks.push_back(static_cast<int64_t>(i));
  }
  return route;
}

}  // namespace

bool Route::has(int64_t chunk) const { return std::ranges::find(chunks, chunk) != chunks.end(); }

int64_t Route::before(int64_t chunk) const { return *std::prev(std::ranges::find(chunks, chunk)); }

int64_t Route::after(int64_t chunk) const { return *std::next(std::ranges::find(chunks, chunk)); }

Letters::Letters(const PipelineSchedule& schedule, const Plan& plan, bool with_text)
    : ranks_(schedule.shape.stages),
      encoder_(route_of(plan, &Stage::encoder)),
      decoder_(route_of(plan, &Stage::decoder)) {
  std::vector<PipelineAction> actions = schedule.actions;  // by clock
  std::erase_if(actions, [this](const PipelineAction& a) { return !route(a.stack).has(a.chunk); });
  for (const PipelineAction& a : actions)
    clocks_[std::tuple(a.stack, a.backward, a.micro_batch, a.chunk)] = a.clock;
  if (with_text) {
    for (const int64_t chunk : decoder_.chunks)
      if (rank_of(chunk) != rank_of(encoder_.last())) text_readers_.emplace(rank_of(chunk), chunk);
  }
  for (const PipelineAction& a : actions)
    for (const Letter& letter : written_by(a))
      if (letter.from != letter.to) sent_[{letter.from, letter.to}].push_back(letter);
}

int64_t Letters::clock_of(Stack stack, bool backward, int64_t micro_batch, int64_t chunk) const {
  return clocks_.at(std::tuple(stack, backward, micro_batch, chunk));
}

bool Letters::is_last_use_of_text(const PipelineAction& a) const {
  return std::ranges::none_of(decoder_.chunks, [&](int64_t chunk) {
    return rank_of(chunk) == a.stage &&
           clock_of(Stack::kDecoder, true, a.micro_batch, chunk) > a.clock;
  });
}

std::vector<Letter> Letters::read_by(const PipelineAction& a) const {
  const Route& way = route(a.stack);
  const int64_t m = a.micro_batch;
  std::vector<Letter> letters;
  if (!a.backward) {
    if (a.chunk != way.first())
      letters.push_back(
          {a.stack, Cargo::kStream, m, a.chunk, rank_of(way.before(a.chunk)), a.stage});
    const auto reader = text_readers_.find(a.stage);
    if (a.stack == Stack::kDecoder && reader != text_readers_.end() && reader->second == a.chunk)
      letters.push_back({a.stack, Cargo::kText, m, a.chunk, rank_of(encoder_.last()), a.stage});
  } else if (a.chunk != way.last()) {
    letters.push_back(
        {a.stack, Cargo::kGradient, m, a.chunk, rank_of(way.after(a.chunk)), a.stage});
  } else if (a.stack == Stack::kEncoder) {
    for (const auto& [rank, chunk] : text_readers_)
      letters.push_back({a.stack, Cargo::kTextGradient, m, a.chunk, rank, a.stage});
  }
  return letters;
}

std::vector<Letter> Letters::written_by(const PipelineAction& a) const {
  const Route& way = route(a.stack);
  const int64_t m = a.micro_batch;
  std::vector<Letter> letters;
  if (!a.backward) {
    if (a.chunk != way.last()) {
      const int64_t next = way.after(a.chunk);
      letters.push_back({a.stack, Cargo::kStream, m, next, a.stage, rank_of(next)});
    } else if (a.stack == Stack::kEncoder) {
      for (const auto& [rank, chunk] : text_readers_)
        letters.push_back({Stack::kDecoder, Cargo::kText, m, chunk, a.stage, rank});
    }
    return letters;
  }
  if (a.chunk != way.first()) {
    const int64_t next = way.before(a.chunk);
    letters.push_back({a.stack, Cargo::kGradient, m, next, a.stage, rank_of(next)});
  }
  if (a.stack == Stack::kDecoder && text_readers_.contains(a.stage) && is_last_use_of_text(a)) {
    const int64_t last = encoder_.last();
    letters.push_back({Stack::kEncoder, Cargo::kTextGradient, m, last, a.stage, rank_of(last)});
  }
  return letters;
}

int64_t Letters::read_at(const Letter& letter) const {
  return clock_of(letter.stack, letter.of_backward(), letter.micro_batch, letter.chunk);
}

const std::vector<Letter>& Letters::sent(int64_t from, int64_t to) const {
  static const std::vector<Letter> kNone;
  const auto found = sent_.find({from, to});
  return found == sent_.end() ? kNone : found->second;
}

std::vector<std::pair<int64_t, int64_t>> Letters::pairs() const {
  std::set<std::pair<int64_t, int64_t>> found;
  for (const auto& [way, letters] : sent_) found.emplace(std::minmax(way.first, way.second));
  return {found.begin(), found.end()};
}

}  // namespace lexel::parallel
