#pragma once

#include <ATen/Parallel.h>
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace lexel::kernels::cpu {

/// Phases of work, each begun when the one before is done, in a single parallel region: a barrier costs a tenth of a
/// microsecond, a region several. Threads claim items one by one, and none waits for a thread that has claimed nothing, so a
/// thread that comes late or never (other work on its core, a nested region) holds nobody up.
class Phases {
 public:
  /// Items of a new phase; its number.
  void add(int64_t items) { sizes_.push_back(items); }

  /// Calls work(worker, phase, item) for each item; `make_worker()` gives each thread its own memory.
  template <class MakeWorker, class Work>
  void run(int64_t threads, MakeWorker&& make_worker, Work&& work) {
    std::vector<Counters> counters(sizes_.size());
    at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
      auto worker = make_worker();
      for (size_t phase = 0; phase < sizes_.size(); ++phase) {
        Counters& counter = counters[phase];
        const int64_t items = sizes_[phase];
        for (int64_t item = counter.next.fetch_add(1, std::memory_order_relaxed); item < items;
             item = counter.next.fetch_add(1, std::memory_order_relaxed)) {
          work(worker, phase, item);
          counter.done.fetch_add(1, std::memory_order_release);
        }
        wait_until(counter.done, items);
      }
    });
  }

 private:
  static constexpr int kCacheLine = 64;
  struct Counters {
    alignas(kCacheLine) std::atomic<int64_t> next{0};
    alignas(kCacheLine) std::atomic<int64_t> done{0};
  };

  static void wait_until(const std::atomic<int64_t>& done, int64_t items) {
    constexpr int kSpins = 4000;  // some 50 us; then the core may have other work
    for (int spin = 0; done.load(std::memory_order_acquire) < items; ++spin) {
      if (spin >= kSpins) {
        std::this_thread::yield();
      } else {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
    }
  }

  std::vector<int64_t> sizes_;
};

}  // namespace lexel::kernels::cpu
