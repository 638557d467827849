#include "kernels/device.h"

#include <charconv>
#include <dlfcn.h>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda/table.h"

namespace lexel {
namespace {

constexpr const char* kPlugin = "liblexel_cuda.so";

/// The folder of the program or library that this code was linked into.
std::filesystem::path own_folder() {
  static const char address_inside = 0;
  Dl_info info{};
  if (dladdr(&address_inside, &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code error;
  const auto path = std::filesystem::canonical(info.dli_fname, error);
  return error ? std::filesystem::path() : path.parent_path();
}

/// Beside us, in bin/../lib, where the package was installed.
std::vector<std::filesystem::path> plugin_places() {
  const auto folder = own_folder();
  return {folder / kPlugin, folder.parent_path() / "lib" / kPlugin,
          std::filesystem::path(LEXEL_PLUGIN_FOLDER) / kPlugin};
}

const kernels::CudaKernels* load_plugin() {
  const std::string path = cuda_plugin_path();
  check(!path.empty(), ErrorKind::kUnsupported, "this build of Lexel has no CUDA plugin (", kPlugin,
        ")");
  // Global: the types that exceptions and tensors carry must be one with ours.
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  check(library != nullptr, ErrorKind::kUnsupported,
        "cannot load the CUDA plugin: ", library == nullptr ? dlerror() : "");
  using Table = const kernels::CudaKernels* (*)();
  const auto table = reinterpret_cast<Table>(dlsym(library, kernels::kCudaKernelsSymbol));
  check(table != nullptr && table()->version == kernels::kCudaKernelsVersion,
        ErrorKind::kUnsupported, path, ": the CUDA plugin of another version of Lexel");
  return table();
}

/// Whether a driver is there, without loading anything of CUDA but the driver library.
bool has_driver() {
  std::error_code ignored;
  for (const char* node : {"/dev/nvidiactl", "/dev/dxg"}) {  // Linux, WSL
    if (std::filesystem::exists(node, ignored)) return true;
  }
  void* const driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver == nullptr) return false;
  dlclose(driver);
  return true;
}

at::Device cuda_device(const std::string& name, int index) {
  check(has_driver(), ErrorKind::kUnsupported, "device ", name,
        ": no NVIDIA driver on this machine");
  int count = 0;
  try {
    count = kernels::cuda_kernels().device_count();
  } catch (const Error& error) {
    fail(error.kind(), "device ", name, ": ", error.what());
  }
  check(count != kernels::kLoadedTooLate, ErrorKind::kInternal, "device ", name,
        ": resolve_device must be called before the first work with tensors");
  check(count > 0, ErrorKind::kUnsupported, "device ", name,
        ": LibTorch finds no GPU that it can use");
  check(index < count, ErrorKind::kUnsupported, "device ", name, ": this machine has ", count,
        count == 1 ? " GPU" : " GPUs");
  return {at::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

}  // namespace

const kernels::CudaKernels& kernels::cuda_kernels() {
  static const CudaKernels* const table = load_plugin();
  return *table;
}

namespace {
const kernels::CudaKernels* for_cpu_tensors = nullptr;  // tests only
}  // namespace

const kernels::CudaKernels* kernels::cuda_kernels_for(const at::Tensor& tensor) {
  return tensor.is_cuda() ? &cuda_kernels() : for_cpu_tensors;
}

void kernels::send_cpu_tensors_to(const CudaKernels* table) { for_cpu_tensors = table; }

std::string cuda_plugin_path() {
  std::error_code ignored;
  for (const auto& path : plugin_places()) {
    if (std::filesystem::exists(path, ignored)) return path.string();
  }
  return "";
}

at::Device resolve_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  if (name == "cuda") return cuda_device(name, 0);
  if (name == "auto") {
    if (!has_driver()) return at::kCPU;
    try {
      return cuda_device(name, 0);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kUnsupported) throw;
      return at::kCPU;
    }
  }
  const std::string prefix = "cuda:";
  int index = -1;
  if (name.starts_with(prefix)) {
    const char* const end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + prefix.size(), end, index);
    if (error != std::errc() || rest != end || index > 127) index = -1;  // DeviceIndex is 8 bits
  }
  check_arg(index >= 0, "device", "expected cpu, cuda, cuda:N or auto, got ", name);
  return cuda_device(name, index);
}

}  // namespace lexel
