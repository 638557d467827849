#include "kernels/machine.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/codebook_lookup.h"
#include "kernels/cpu/machine.h"

namespace lexel::kernels {
namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

/// The number after `key` in a file of "key number" lines, or the first number where the key is empty.
int64_t number_in(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  int64_t number = 0;
  if (key.empty()) return file >> number ? number : kUnknown;
  while (file >> word) {
    if (word == key) return file >> number ? number : kUnknown;
  }
  return kUnknown;
}

/// What a control group leaves: pages of files that can be dropped count as free.
int64_t left_in_group(const std::string& limit_path, const std::string& used_path,
                      const std::string& statistics_path, const std::string& file_pages) {
  const int64_t limit = number_in(limit_path, ""), used = number_in(used_path, "");
  if (limit == kUnknown || used == kUnknown) return kUnknown;  // "max": no limit
  const int64_t pages = number_in(statistics_path, file_pages);
  return std::max<int64_t>(0, limit - used + (pages == kUnknown ? 0 : pages));
}

}  // namespace

Machine machine() {
  return {cpu::vector_target_name(), cpu::has_vnni(), cpu::has_bf16_dot(), cpu::has_amx_bf16(),
          cpu::has_amx_int8()};
}

std::vector<KernelPath> kernel_paths() {
  return {
      {"codebook_lookup", cpu::codebook_lookup_path()},
      {"attention", cpu::attention_path()},
  };
}

int64_t available_memory_bytes() {
  const int64_t system_kib = number_in("/proc/meminfo", "MemAvailable:");
  const std::string two = "/sys/fs/cgroup/", one = "/sys/fs/cgroup/memory/";
  return std::min({system_kib == kUnknown ? kUnknown : system_kib * 1024,
                   left_in_group(two + "memory.max", two + "memory.current", two + "memory.stat",
                                 "inactive_file"),
                   left_in_group(one + "memory.limit_in_bytes", one + "memory.usage_in_bytes",
                                 one + "memory.stat", "total_inactive_file")});
}

}  // namespace lexel::kernels
