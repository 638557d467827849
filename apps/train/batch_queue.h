#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace lexel::train {

/// Batches made ahead by worker threads and handed out in order: batch n is what make(n) gives, whatever the number of workers.
template <class Batch>
class BatchQueue {
 public:
  /// make     called from several threads at once; must depend on the number alone
  /// first    number of the first batch that next() gives
  /// workers  threads, at least 1
  /// ahead    finished batches that may wait, at least 1
  BatchQueue(std::function<Batch(int64_t)> make, int64_t first, int64_t workers, int64_t ahead)
      : make_(std::move(make)), ahead_(ahead), next_to_make_(first), next_to_give_(first) {
    for (int64_t i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  }
  ~BatchQueue() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wanted_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  BatchQueue(const BatchQueue&) = delete;
  BatchQueue& operator=(const BatchQueue&) = delete;

  /// throws   what a worker met
  Batch next() {
    const auto begin = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [this] { return failure_ || finished_.count(next_to_give_) > 0; });
    if (failure_) std::rethrow_exception(failure_);
    Batch batch = std::move(finished_.extract(next_to_give_).mapped());
    ++next_to_give_;
    lock.unlock();
    wanted_.notify_all();
    waited_s_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return batch;
  }

  /// Time that next() has waited for a worker, seconds in all.
  double waited_s() const { return waited_s_; }

 private:
  void work() {
    while (true) {
      int64_t number = 0;
      {
        std::unique_lock lock(mutex_);
        wanted_.wait(lock, [this] { return stop_ || next_to_make_ < next_to_give_ + ahead_; });
        if (stop_) return;
        number = next_to_make_++;
      }
      try {
        Batch batch = make_(number);
        const std::lock_guard lock(mutex_);
        finished_.emplace(number, std::move(batch));
      } catch (...) {  // a thread border
        const std::lock_guard lock(mutex_);
        failure_ = std::current_exception();
      }
      filled_.notify_all();
    }
  }

  const std::function<Batch(int64_t)> make_;
  const int64_t ahead_;
  std::mutex mutex_;
  std::condition_variable filled_, wanted_;
  std::map<int64_t, Batch> finished_;  // by number
  int64_t next_to_make_, next_to_give_;
  bool stop_ = false;
  std::exception_ptr failure_;
  double waited_s_ = 0.0;
  std::vector<std::thread> threads_;
};

}  // namespace lexel::train
