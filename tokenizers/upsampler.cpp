#include "tokenizers/upsampler.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/fields_json.h"
#include "tokenizers/io/model_tensors.h"

namespace lexel {
namespace {

constexpr const char* kKind = "upsampler";
constexpr int64_t kPicturesAtOnce = 4;  // bounds the memory of the wide layers

}  // namespace

ModelFile upsampler_file(const vqgan::Upsampler& upsampler, const std::string& provenance,
                         const std::string& license, at::ScalarType stored) {
  ModelFile file;
  file.kind = kKind;
  file.config = fields_json::write(upsampler.config);
  file.preprocess = "{}";
  file.provenance = provenance;
  file.license = license;
  vqgan::Upsampler view = upsampler;  // its tensors share the model's memory
  file.tensors = store_parameters(vqgan::parameters(view), stored);
  return file;
}

vqgan::Upsampler upsampler_model(const ModelFile& file, const std::string& name,
                                 at::Device device) {
  check(file.kind == kKind, ErrorKind::kUnsupported, name, ": expected a model of kind ", kKind,
        ", got \"", file.kind, "\"");
  vqgan::Upsampler upsampler =
      vqgan::upsampler_layout(fields_json::read<vqgan::UpsamplerConfig>(file.config, name));
  read_parameters(vqgan::parameters(upsampler), file.tensors, name, device);
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
