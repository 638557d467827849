#include "tokenizers/load.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <charconv>

#include "kernels/check.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/vit_vqgan_tokenizer.h"

namespace lexel {

at::Device resolve_device(const std::string& device) {
  if (device == "cpu") return at::kCPU;
  const auto& cuda = at::detail::getCUDAHooks();
  const int count = cuda.hasCUDA() ? cuda.deviceCount() : 0;
  if (device == "auto") return count > 0 ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);

  int index = 0;
  if (device != "cuda") {
    const bool prefixed = device.starts_with("cuda:") && device.size() > 5;
    const char* const end = device.data() + device.size();
    const auto parsed = prefixed ? std::from_chars(device.data() + 5, end, index)
                                 : std::from_chars_result{end, std::errc::invalid_argument};
    check_arg(parsed.ec == std::errc() && parsed.ptr == end && index >= 0, "resolve_device",
              "expected cpu, cuda, cuda:NUMBER or auto, got \"", device, "\"");
  }
  check(index < count, ErrorKind::kUnsupported, "device ", device, ": this machine has ", count,
        " usable CUDA devices");
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

std::unique_ptr<ImageTokenizer> load_image_tokenizer(const std::string& path,
                                                     const std::string& device) {
  const at::Device place = resolve_device(device);  // the cheap check first
  const ModelFile file = read_model_file(path);
  if (file.kind == "vit_vqgan") return make_vit_vqgan_tokenizer(file, path, place);
  fail(ErrorKind::kUnsupported, path, ": this program cannot load a tokenizer of kind \"",
       file.kind, "\"");
}

}  // namespace lexel
