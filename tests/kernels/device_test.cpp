#include "kernels/device.h"

#include <ATen/ops/zeros.h>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>

#include "kernels/cuda/table.h"
#include "tests/support/expect_error.h"

namespace lexel {
namespace {

using tests::expect_error;

bool has_node() { return std::filesystem::exists("/dev/nvidiactl"); }

std::string libraries_of_this_process() {
  std::ifstream maps("/proc/self/maps");
  std::ostringstream text;
  text << maps.rdbuf();
  return text.str();
}

TEST(ResolveDevice, CpuIsTheCpu) { EXPECT_EQ(resolve_device("cpu"), at::Device(at::kCPU)); }

TEST(ResolveDevice, RejectsOtherNames) {
  for (const char* name : {"", "gpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:1x",
                           "cuda: 1", "cuda:128", "cuda:99999999999"}) {
    expect_error(ErrorKind::kUsage,
                 std::string("device: expected cpu, cuda, cuda:N or auto, got ") + name,
                 [&] { resolve_device(name); });
  }
}

TEST(ResolveDevice, WithoutADriverAutoIsTheCpuAndLoadsNothing) {
  if (has_node()) GTEST_SKIP() << "this machine has a GPU";
  EXPECT_EQ(resolve_device("auto"), at::Device(at::kCPU));
  EXPECT_EQ(libraries_of_this_process().find("libtorch_cuda"), std::string::npos);
}

TEST(ResolveDevice, WithoutADriverCudaIsUnsupported) {
  if (has_node()) GTEST_SKIP() << "this machine has a GPU";
  for (const std::string name : {"cuda", "cuda:0", "cuda:3"}) {
    expect_error(ErrorKind::kUnsupported, "device " + name + ": ", [&] { resolve_device(name); });
  }
}

TEST(ResolveDevice, AGpuIsFoundByAutoAndByName) {
  if (!has_node()) GTEST_SKIP() << "this machine has no GPU";
  EXPECT_EQ(resolve_device("cuda"), at::Device(at::kCUDA, 0));
  EXPECT_EQ(resolve_device("cuda:0"), at::Device(at::kCUDA, 0));
  EXPECT_EQ(resolve_device("auto"), at::Device(at::kCUDA, 0));
  expect_error(ErrorKind::kUnsupported, "device cuda:99: this machine has",
               [] { resolve_device("cuda:99"); });
}

// In a process of its own (a death test that is executed anew), because LibTorch's answer lasts as long as it.
TEST(CudaKernelsDeathTest, PluginAfterABackwardPassIsTooLate) {
  if (!std::filesystem::exists(LEXEL_CUDA_PLUGIN)) GTEST_SKIP() << "built without CUDA";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto load_late = [] {
    at::zeros({2}).requires_grad_().sum().backward();
    const int count = kernels::cuda_kernels().device_count();
    std::_Exit(count == kernels::kLoadedTooLate ? 7 : 8);
  };
  EXPECT_EXIT(load_late(), testing::ExitedWithCode(7), "");
}

TEST(CudaKernels, PluginLoadsWhereItWasBuiltAndIsNamedWhereItWasNot) {
  if (std::filesystem::exists(LEXEL_CUDA_PLUGIN)) {
    const kernels::CudaKernels& table = kernels::cuda_kernels();
    EXPECT_EQ(table.version, kernels::kCudaKernelsVersion);
    EXPECT_NE(table.codebook_lookup, nullptr);
    EXPECT_EQ(table.device_count() > 0, has_node());
  } else {
    expect_error(ErrorKind::kUnsupported,
                 "this build of Lexel has no CUDA plugin (liblexel_cuda.so)",
                 [] { kernels::cuda_kernels(); });
  }
}

}  // namespace
}  // namespace lexel
