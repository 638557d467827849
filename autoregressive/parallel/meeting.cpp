#include "autoregressive/parallel/meeting.h"

#include <c10/util/Exception.h>
#include <exception>
#include <thread>

#include "kernels/check.h"

namespace lexel::parallel {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// How long a rank whose collective failed listens for the others, who notice within a few milliseconds of each other.
constexpr auto kListen = 3s;
// How long the holder of the store stays for the others. They leave right after the last collective.
constexpr auto kLastOut = 10s;

std::vector<uint8_t> bytes(const std::string& text) { return {text.begin(), text.end()}; }

std::string key(const char* kind, int64_t rank) { return concat(kind, "/", rank); }

/// "rank 3", "ranks 1, 3".
std::string ranks(const std::vector<int64_t>& list) {
  std::string text = list.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < list.size(); ++i) text += concat(i == 0 ? "" : ", ", list[i]);
  return text;
}

}  // namespace

Meeting::Meeting(c10::intrusive_ptr<c10d::Store> store, int64_t rank, int64_t size, bool last_out)
    : store_(std::move(store)), rank_(rank), size_(size), last_out_(last_out) {}

Meeting::~Meeting() {
  try {
    int64_t left = store_->add("left", 1);
    for (const auto end = Clock::now() + kLastOut;
         last_out_ && left < size_ && Clock::now() < end && !store_->check({"failed"});) {
      std::this_thread::sleep_for(5ms);
      left = store_->add("left", 0);
    }
  } catch (const std::exception&) {
    // Who cannot reach the store any more has nothing to wait for.
  }
}

std::vector<std::string> Meeting::exchange(const std::string& what, const std::string& text,
                                           std::chrono::milliseconds timeout) {
  const std::string name = concat(what, "/", exchanges_++);
  try {
    store_->set(key(name.c_str(), rank_), bytes(text));
    const auto end = Clock::now() + timeout;
    std::vector<std::string> texts;
    for (int64_t r = 0; r < size_; ++r) {
      for (auto pause = 1ms; !store_->check({key(name.c_str(), r)});
           pause = std::min(2 * pause, 50ms)) {
        if (const auto failure = failure_of(r)) {
          noticed_ = true;
          fail(failure->kind, "rank ", rank_, ", ", what, ": rank ", r,
               " failed: ", failure->words);
        }
        if (Clock::now() >= end) {
          noticed_ = true;
          std::vector<int64_t> missing;
          for (int64_t other = r; other < size_; ++other)
            if (!store_->check({key(name.c_str(), other)})) missing.push_back(other);
          fail(ErrorKind::kIo, "rank ", rank_, ", ", what, ": ", ranks(missing),
               " did not come within ", static_cast<double>(timeout.count()) / 1000.0, " s");
        }
        std::this_thread::sleep_for(pause);
      }
      const std::vector<uint8_t> value = store_->get(key(name.c_str(), r));
      texts.emplace_back(value.begin(), value.end());
    }
    return texts;
  } catch (const c10::Error&) {
    fail(ErrorKind::kIo, "rank ", rank_, ", ", what,
         ": the ranks' meeting place is gone (the process that holds it ended)");
  }
}

std::optional<Failure> Meeting::failure_of(int64_t rank) const {
  if (!store_->check({key("failed", rank)})) return std::nullopt;
  const std::vector<uint8_t> told = store_->get(key("failed", rank));
  if (told.empty()) return Failure{};
  return Failure{static_cast<ErrorKind>(told[0]), std::string(told.begin() + 1, told.end())};
}

Failure Meeting::who_is_missing(const std::string& where, const std::vector<int64_t>& members) {
  noticed_ = true;
  try {
    store_->set(key("waits", rank_), bytes(where));
    std::vector<int64_t> silent;
    for (const auto end = Clock::now() + kListen; Clock::now() < end;) {
      silent.clear();
      for (const int64_t member : members) {
        if (const auto failure = failure_of(member))
          return {failure->kind, concat("rank ", member, " failed: ", failure->words)};
        if (!store_->check({key("waits", member)})) silent.push_back(member);
      }
      if (silent.empty()) return {};
      std::this_thread::sleep_for(20ms);
    }
    return {ErrorKind::kIo, concat(ranks(silent), silent.size() == 1 ? " is" : " are",
                                   " gone or hang", silent.size() == 1 ? "s" : "")};
  } catch (const std::exception&) {
    return {ErrorKind::kIo,
            "the process that holds the ranks' meeting place (rank 0, or the launcher) is gone"};
  }
}

void Meeting::tell_failure(ErrorKind kind, const std::string& words) {
  try {
    const std::string told = std::string(1, static_cast<char>(kind)) + words;
    if (!noticed_) store_->set(key("failed", rank_), bytes(told));
    store_->set("failed", bytes(words));
  } catch (const std::exception&) {
    // Then the launcher's note must do.
  }
}

}  // namespace lexel::parallel
