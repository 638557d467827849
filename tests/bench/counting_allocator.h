#pragma once

#include <algorithm>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace lexel::tests {

/// Takes memory for tensors on the CPU as LibTorch's own allocator does, and keeps the books: what tensors have, and the most they
/// ever had.
class CountingAllocator final : public c10::Allocator {
 public:
  /// From now on in the place of LibTorch's.
  static CountingAllocator& install() {
    c10::SetCPUAllocator(&the(), /*priority=*/1);
    return the();
  }

  c10::DataPtr allocate(size_t bytes) override {
    void* const data = c10::alloc_cpu(bytes);
    const std::lock_guard lock(mutex_);
    sizes_[data] = static_cast<int64_t>(bytes);
    peak_ = std::max(peak_, held_ += static_cast<int64_t>(bytes));
    return {data, data, &release, at::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  int64_t peak() const { return peak_; }  // bytes

 private:
  static CountingAllocator& the() {
    static auto* const allocator = new CountingAllocator;  // outlives every tensor
    return *allocator;
  }

  static void release(void* data) {
    {
      const std::lock_guard lock(the().mutex_);
      const auto entry = the().sizes_.find(data);
      if (entry != the().sizes_.end()) {
        the().held_ -= entry->second;
        the().sizes_.erase(entry);
      }
    }
    c10::free_cpu(data);
  }

  std::mutex mutex_;
  std::unordered_map<void*, int64_t> sizes_;
  int64_t held_ = 0, peak_ = 0;
};

}  // namespace lexel::tests
