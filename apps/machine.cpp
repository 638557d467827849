#include "apps/machine.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sched.h>
#include <sstream>
#include <sys/utsname.h>
#include <system_error>
#include <unistd.h>

#include "kernels/check.h"
#include "kernels/device.h"
#include "kernels/machine.h"

namespace lexel::cli {
namespace {

namespace fs = std::filesystem;

/// The first line of a file that the system makes; empty when it cannot be read.
std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t");
  return first == std::string::npos
             ? ""
             : text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

/// What stands behind "key :" in a list of such lines.
std::string value_of(const fs::path& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && trimmed(line.substr(0, colon)) == key)
      return trimmed(line.substr(colon + 1));
  }
  return "";
}

std::string cpu_name() {
  const std::string name = value_of("/proc/cpuinfo", "model name");
  if (!name.empty()) return name;
  utsname system{};
  return uname(&system) == 0 ? system.machine : "unknown";
}

std::vector<CpuCache> caches() {
  std::vector<CpuCache> found;
  const fs::path folder = "/sys/devices/system/cpu/cpu0/cache";
  for (int i = 0; i < 16; ++i) {
    const fs::path one = folder / ("index" + std::to_string(i));
    const std::string size = first_line(one / "size");  // "32768K"
    if (size.empty()) break;
    const std::string type = first_line(one / "type");
    if (type == "Instruction") continue;
    const int64_t unit = size.back() == 'K' ? 1 << 10 : size.back() == 'M' ? 1 << 20 : 1;
    found.push_back({concat("L", first_line(one / "level"), type == "Data" ? "d" : ""),
                     std::atoll(size.c_str()) * unit});
  }
  return found;
}

int64_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                     : sysconf(_SC_NPROCESSORS_ONLN);
}

std::vector<std::string> features() {
  std::istringstream words(value_of("/proc/cpuinfo", "flags") + " " +
                           value_of("/proc/cpuinfo", "Features"));
  const std::vector<std::string> all{std::istream_iterator<std::string>(words), {}};
  std::vector<std::string> found;
  for (const char* name :
       {"ssse3", "sse4_1", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
        "avx_vnni", "amx_tile", "amx_bf16", "amx_int8",        // x86
        "asimd", "asimddp", "bf16", "i8mm", "sve", "sve2"}) {  // ARM
    if (std::find(all.begin(), all.end(), name) != all.end()) found.push_back(name);
  }
  return found;
}

/// From the driver's own files: no library of CUDA is loaded for it.
std::string gpus() {
  std::string names;
  std::error_code ignored;
  for (const auto& one : fs::directory_iterator("/proc/driver/nvidia/gpus", ignored)) {
    const std::string name = value_of(one.path() / "information", "Model");
    if (!name.empty()) names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

/// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Release Build ...": the word with two dots, or one.
std::string driver_version() {
  std::istringstream words(value_of("/proc/driver/nvidia/version", "NVRM version"));
  for (std::string word; words >> word;) {
    if (word.find('.') != std::string::npos &&
        word.find_first_not_of("0123456789.") == std::string::npos)
      return word;
  }
  return "";
}

}  // namespace

MachineReport describe_machine() {
  MachineReport machine;
  machine.cpu = cpu_name();
  machine.cores = usable_cores();
  machine.threads = at::get_num_threads();
  machine.memory_bytes = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  machine.caches = caches();
  machine.features = features();
  machine.in_use = kernels::machine();
  machine.paths = kernels::kernel_paths();
  machine.gpu = gpus();
  machine.gpu_driver = driver_version();
  machine.plugin = cuda_plugin_path();
  return machine;
}

}  // namespace lexel::cli
