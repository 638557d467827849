#include "tokenizers/load.h"

#include <ATen/core/Tensor.h>

#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/guide_file.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/spae_tokenizer.h"
#include "tokenizers/vit_vqgan_tokenizer.h"

namespace lexel {

std::unique_ptr<ImageTokenizer> load_image_tokenizer(const std::string& path,
                                                     const std::string& device) {
  const at::Device place = resolve_device(device);  // before the first work with tensors
  return make_image_tokenizer(read_model_file(path), path, place);
}

std::unique_ptr<ImageTokenizer> make_image_tokenizer(const ModelFile& file, const std::string& name,
                                                     at::Device device) {
  if (file.kind == "vit_vqgan") return make_vit_vqgan_tokenizer(file, name, device);
  if (file.kind == "spae") {
    return make_spae_tokenizer(file, name, device, features_by_eye(file, name, device));
  }
  fail(ErrorKind::kUnsupported, name, ": this program cannot load a tokenizer of kind \"",
       file.kind, "\"");
}

}  // namespace lexel
