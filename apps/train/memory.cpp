#include "apps/train/memory.h"

#include <climits>
#include <cstdint>
#include <cstdlib>
#include <string>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/// jemalloc's controls, where the program is linked with it.
extern "C" int mallctl(const char* name, void* old, size_t* old_bytes, void* value, size_t bytes)
    __attribute__((weak));

namespace lexel::train {
namespace {

void keep_in_jemalloc() {
  const auto never = [](const std::string& name) {
    int64_t decay_ms = -1;  // ssize_t
    mallctl(name.c_str(), nullptr, nullptr, &decay_ms, sizeof(decay_ms));
  };
  unsigned arenas = 0;
  size_t bytes = sizeof(arenas);
  mallctl("arenas.narenas", &arenas, &bytes, nullptr, 0);
  for (const char* const kind : {"dirty_decay_ms", "muzzy_decay_ms"}) {
    never(std::string("arenas.") + kind);  // of those to come, large blocks' own among them
    for (unsigned i = 0; i < arenas; ++i) never("arena." + std::to_string(i) + '.' + kind);
  }
}

}  // namespace

void keep_freed_memory() {
  if (mallctl != nullptr) return keep_in_jemalloc();
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);                // large blocks from the heap too,
  mallopt(M_TRIM_THRESHOLD, INT_MAX);    // which never shrinks
  mallopt(M_TOP_PAD, 64 * 1024 * 1024);  // and grows by large pieces
#endif
}

}  // namespace lexel::train
