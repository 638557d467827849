#include "tokenizers/vit_vqgan_file.h"

#include <ATen/ops/isfinite.h>

#include "kernels/check.h"
#include "tokenizers/io/config_json.h"
#include "tokenizers/io/sha256.h"

namespace lexel {
namespace {

constexpr const char* kKind = "vit_vqgan";

void check_finite(const at::Tensor& tensor, const std::string& prefix, const std::string& key) {
  check(at::isfinite(tensor).all().item<bool>(), ErrorKind::kBadData, prefix, "tensor \"", key,
        "\" holds a value that is not finite");
}

}  // namespace

ModelFile vit_vqgan_file(const vqgan::Model& model, const Preprocess& preprocess,
                         const std::string& provenance, const std::string& license,
                         at::ScalarType stored) {
  check_arg(stored == at::kFloat || stored == at::kBFloat16 || stored == at::kHalf,
            "vit_vqgan_file", "expected float32, bfloat16 or float16, got ", stored);
  check_arg(preprocess.image_size == model.config.image_size, "vit_vqgan_file",
            "expected pictures of ", model.config.image_size, " pixels, got ",
            preprocess.image_size);
  ModelFile file;
  file.kind = kKind;
  file.config = to_json(model.config);
  file.preprocess = to_json(preprocess);
  file.provenance = provenance;
  file.license = license;
  vqgan::Model view = model;  // its tensors share the model's memory
  for (const auto& [key, tensor] : named_tensors(vqgan::parameters(view))) {
    const at::Tensor& value =
        file.tensors.emplace(key, tensor.cpu().to(tensor.dim() > 1 ? stored : at::kFloat))
            .first->second;
    check_finite(value, "", key);
  }
  return file;
}

vqgan::Model vit_vqgan_model(const ModelFile& file, const std::string& name, at::Device device) {
  check(file.kind == kKind, ErrorKind::kUnsupported, name, ": expected a model of kind ", kKind,
        ", got \"", file.kind, "\"");
  vqgan::Model model = vqgan::model_layout(vqgan_config_from_json(file.config, name));
  const Preprocess preprocess = preprocess_from_json(file.preprocess, name);
  check(preprocess.image_size == model.config.image_size, ErrorKind::kBadData, name,
        ": preprocess gives ", preprocess.image_size, " pixels to a model of ",
        model.config.image_size);

  const ParameterList list = vqgan::parameters(model);
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
  if (file.tensors.size() > list.size()) {
    std::map<std::string, at::Tensor> rest = file.tensors;
    for (const Parameter& parameter : list) rest.erase(parameter.name);
    fail(ErrorKind::kBadData, name, ": tensor \"", rest.begin()->first, "\" is unexpected");
  }
  for (const Parameter& parameter : list) {
    const at::Tensor& value = file.tensors.at(parameter.name);
    *parameter.tensor = value.to(device, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    check_finite(*parameter.tensor, name + ": ", parameter.name);
  }
  return model;
}

std::string codebook_fingerprint(const vqgan::Model& model) {
  return codebook_fingerprint(model.quantizer.codebook, model.config.normalize_codes);
}

}  // namespace lexel
