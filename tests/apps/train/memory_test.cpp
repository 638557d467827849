#include "apps/train/memory.h"

#include <ATen/ops/ones.h>
#include <fstream>
#include <gtest/gtest.h>
#include <string>

extern "C" int mallctl(const char* name, void* old, size_t* old_bytes, void* value, size_t bytes)
    __attribute__((weak));

namespace lexel::train {
namespace {

int64_t resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return 1024 * std::stoll(line.substr(6));
  return 0;
}

TEST(Memory, WhatIsFreedStaysWithTheProcess) {
  constexpr int64_t kValues = int64_t{32} << 20;  // 128 MiB
  keep_freed_memory();
  const int64_t before = resident_bytes();
  { const at::Tensor x = at::ones({kValues}); }
  EXPECT_GE(resident_bytes() - before, 4 * kValues * 9 / 10);
  const int64_t after_one = resident_bytes();
  for (int i = 0; i < 4; ++i) const at::Tensor again = at::ones({kValues});
  EXPECT_LE(resident_bytes() - after_one, 4 * kValues / 10);  // and is taken again
}

TEST(Memory, JemallocsArenasNeverGiveBack) {
  if (mallctl == nullptr) GTEST_SKIP() << "not linked with jemalloc";
  keep_freed_memory();
  for (const char* const name : {"arenas.dirty_decay_ms", "arena.0.dirty_decay_ms",
                                 "arenas.muzzy_decay_ms", "arena.0.muzzy_decay_ms"}) {
    int64_t decay_ms = 0;
    size_t bytes = sizeof(decay_ms);
    ASSERT_EQ(mallctl(name, &decay_ms, &bytes, nullptr, 0), 0) << name;
    EXPECT_EQ(decay_ms, -1) << name;
  }
}

}  // namespace
}  // namespace lexel::train
