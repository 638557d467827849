#include "tokenizers/vit_vqgan_file.h"

#include "kernels/check.h"
#include "tokenizers/io/config_json.h"
#include "tokenizers/io/model_tensors.h"
#include "tokenizers/io/sha256.h"

namespace lexel {
namespace {

constexpr const char* kKind = "vit_vqgan";

}  // namespace

ModelFile vit_vqgan_file(const vqgan::Model& model, const Preprocess& preprocess,
                         const std::string& provenance, const std::string& license,
                         at::ScalarType stored) {
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
  file.tensors = store_parameters(vqgan::parameters(view), stored);
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

  read_parameters(vqgan::parameters(model), file.tensors, name, device);
  return model;
}

std::string codebook_fingerprint(const vqgan::Model& model) {
  return codebook_fingerprint(model.quantizer.codebook, model.config.normalize_codes);
}

}  // namespace lexel
