#include <dlfcn.h>

#include "apps/programs.h"
#include "kernels/check.h"

namespace lexel::cli {

const Programs& load_programs() {
  void* library = dlopen("liblexel_programs.so", RTLD_NOW | RTLD_GLOBAL);
  check(library != nullptr, ErrorKind::kInternal, "the installation is broken: ", dlerror());
  auto* table = reinterpret_cast<const Programs* (*)()>(dlsym(library, kProgramsSymbol));
  check(table != nullptr, ErrorKind::kInternal,
        "the installation is broken: liblexel_programs.so is of another version");
  return *table();
}

int run_bench(const bench::BenchOptions& options) {
  void* library = dlopen("liblexel_bench.so", RTLD_NOW | RTLD_GLOBAL);
  check(library != nullptr, ErrorKind::kUnsupported,
        "this build has no benchmarks (Google Benchmark was missing): ", dlerror());
  auto* run = reinterpret_cast<int (*)(const bench::BenchOptions&)>(dlsym(library, kBenchSymbol));
  check(run != nullptr, ErrorKind::kInternal,
        "the installation is broken: liblexel_bench.so is of another version");
  return run(options);
}

}  // namespace lexel::cli
