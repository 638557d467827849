#include "kernels/machine.h"

#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>

#include "tests/support/kernel_paths.h"

namespace lexel::kernels {
namespace {

/// The words of the first "flags" line of /proc/cpuinfo, each between spaces.
std::string flags_of_linux() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) == 0) return line + " ";
  }
  return "";
}

TEST(Machine, AgreesWithLinux) {
  const std::string flags = flags_of_linux();
  if (flags.empty()) GTEST_SKIP() << "/proc/cpuinfo has no flags";
  const auto has = [&](const std::string& flag) {
    return flags.find(" " + flag + " ") != std::string::npos;
  };
  const Machine found = machine();
  EXPECT_EQ(found.vnni, has("avx512_vnni"));
  EXPECT_EQ(found.bf16_dot, has("avx512_bf16"));
  // The system may refuse the tiles: then they count as absent.
  EXPECT_TRUE(!found.amx_bf16 || has("amx_bf16"));
  EXPECT_TRUE(!found.amx_int8 || has("amx_int8"));
}

TEST(Machine, NamesTheTargetInUse) {
  tests::on_every_target([] {
    const int64_t best = hwy::SupportedTargets() & -hwy::SupportedTargets();
    EXPECT_EQ(machine().vectors, hwy::TargetName(best));
  });
}

TEST(Machine, SaysWhichPathAKernelTakes) {
  for (const KernelPath& entry : kernel_paths()) {
    EXPECT_FALSE(entry.kernel.empty());
    EXPECT_FALSE(entry.path.empty()) << entry.kernel;
  }
}

}  // namespace
}  // namespace lexel::kernels
