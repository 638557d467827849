#include "tokenizers/upsampler.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/fields_json.h"

namespace lexel {
namespace {

constexpr const char* kKind = "upsampler";
constexpr int64_t kPicturesAtOnce = 4;  // bounds the memory of the wide layers

}  // namespace

ModelFile upsampler_file(const vqgan::Upsampler& upsampler, const std::string& provenance,
                         const std::string& license, at::ScalarType stored) {
  check_arg(stored == at::kFloat || stored == at::kBFloat16 || stored == at::kHalf,
            "upsampler_file", "expected float32, bfloat16 or float16, got ", stored);
  ModelFile file;
  file.kind = kKind;
  file.config = fields_json::write(upsampler.config);
  file.preprocess = "{}";
  file.provenance = provenance;
  file.license = license;
  vqgan::Upsampler view = upsampler;  // its tensors share the model's memory
  for (const auto& [key, tensor] : named_tensors(vqgan::parameters(view)))
    file.tensors.emplace(key, tensor.cpu().to(tensor.dim() > 1 ? stored : at::kFloat));
  return file;
}

vqgan::Upsampler upsampler_model(const ModelFile& file, const std::string& name,
                                 at::Device device) {
  check(file.kind == kKind, ErrorKind::kUnsupported, name, ": expected a model of kind ", kKind,
        ", got \"", file.kind, "\"");
  vqgan::Upsampler upsampler =
      vqgan::upsampler_layout(fields_json::read<vqgan::UpsamplerConfig>(file.config, name));
  const ParameterList list = vqgan::parameters(upsampler);
  for (const Parameter& parameter : list) {
    const auto found = file.tensors.find(parameter.name);
    check(found != file.tensors.end(), ErrorKind::kBadData, name, ": tensor \"", parameter.name,
          "\" is missing");
    const at::Tensor& value = found->second;
    check(value.sizes() == at::IntArrayRef(parameter.shape), ErrorKind::kBadData, name,
          ": tensor \"", parameter.name, "\": expected shape ", at::IntArrayRef(parameter.shape),
          ", got ", value.sizes());
    check(value.is_floating_point(), ErrorKind::kBadData, name, ": tensor \"", parameter.name,
          "\": expected floats, got ", value.scalar_type());
  }
  for (const auto& [key, value] : file.tensors) {
    check(std::ranges::find(list, key, &Parameter::name) != list.end(), ErrorKind::kBadData, name,
          ": tensor \"", key, "\" is unexpected");
  }
  for (const Parameter& parameter : list) {
    *parameter.tensor = file.tensors.at(parameter.name)
                            .to(device, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  }
  return upsampler;
}

PictureUpsampler::PictureUpsampler(vqgan::Upsampler upsampler) : upsampler_(std::move(upsampler)) {}

at::Tensor PictureUpsampler::upscale(const at::Tensor& images) const {
  const at::NoGradGuard no_grad;
  check_arg(images.dim() == 4 && images.size(0) > 0, "PictureUpsampler::upscale",
            "expected (B, 3, H, W) pictures, got ", images.sizes());
  const at::Device device = upsampler_.tail.bias.device();
  const at::ScalarType compute = device.is_cuda() ? at::kBFloat16 : at::kFloat;
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < images.size(0); first += kPicturesAtOnce) {
    const int64_t count = std::min(kPicturesAtOnce, images.size(0) - first);
    const at::Tensor part = images.narrow(0, first, count).to(device, at::kFloat);
    parts.push_back(vqgan::upscale(upsampler_, part, compute).clamp_(0, 1));
  }
  return at::cat(parts);  // (B, 3, sH, sW)
}

at::Tensor draw_small(const ImageTokenizer& tokenizer, const at::Tensor& originals, int64_t scale) {
  const at::NoGradGuard no_grad;
  const at::Tensor small = at::avg_pool2d(originals, {scale, scale});  // (B, 3, S, S)
  return tokenizer.decode(tokenizer.encode(small)).clamp(0, 1);
}

std::unique_ptr<PictureUpsampler> load_upsampler(const std::string& path,
                                                 const std::string& device) {
  const at::Device where = resolve_device(device);
  return std::make_unique<PictureUpsampler>(upsampler_model(read_model_file(path), path, where));
}

}  // namespace lexel
