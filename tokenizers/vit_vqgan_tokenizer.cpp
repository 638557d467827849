#include "tokenizers/vit_vqgan_tokenizer.h"

#include <ATen/core/grad_mode.h>
#include <filesystem>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/config_json.h"
#include "tokenizers/vit_vqgan_file.h"

namespace lexel {
namespace {

class VitVqganTokenizer final : public ImageTokenizer {
 public:
  VitVqganTokenizer(vqgan::Model model, TokenizerInfo info)
      : model_(std::move(model)), info_(std::move(info)) {}

  const TokenizerInfo& info() const override { return info_; }

  at::Tensor encode(const at::Tensor& images) const override {
    const int64_t size = info_.image_size;
    check_arg(images.dim() == 4 && images.size(1) == 3 && images.size(2) == size &&
                  images.size(3) == size && images.scalar_type() == at::kFloat,
              "encode", "expected (B, 3, ", size, ", ", size, ") float32 pictures, got ",
              images.scalar_type(), " of shape ", images.sizes());
    const at::NoGradGuard no_grad;
    return vqgan::encode(model_, images.to(device())).cpu();
  }

  at::Tensor decode(const at::Tensor& tokens) const override {
    const int64_t count = info_.grid_height * info_.grid_width;
    check_arg(tokens.dim() == 2 && tokens.size(1) == count &&
                  at::isIntegralType(tokens.scalar_type(), /*includeBool=*/false),
              "decode", "expected (B, ", count, ") integer tokens, got ", tokens.scalar_type(),
              " of shape ", tokens.sizes());
    const at::NoGradGuard no_grad;
    return vqgan::decode(model_, tokens.to(device(), at::kLong), info_.grid_height,
                         info_.grid_width)
        .cpu();
  }

 private:
  at::Device device() const { return model_.quantizer.codebook.device(); }

  vqgan::Model model_;
  TokenizerInfo info_;
};

}  // namespace

std::unique_ptr<ImageTokenizer> make_vit_vqgan_tokenizer(const ModelFile& file,
                                                         const std::string& name,
                                                         at::Device device) {
  vqgan::Model model = vit_vqgan_model(file, name, device);
  TokenizerInfo info;
  info.kind = file.kind;
  info.name = std::filesystem::path(name).filename().string();
  info.image_size = model.config.image_size;
  info.grid_height = info.grid_width = model.config.image_size / model.config.patch_size;
  info.codebook_size = model.config.codebook_size;
  info.parameter_count = parameter_count(vqgan::parameters(model));
  info.codebook_fingerprint = codebook_fingerprint(model);
  info.preprocess = preprocess_from_json(file.preprocess, name);
  info.license = file.license;
  info.provenance = file.provenance;
  return std::make_unique<VitVqganTokenizer>(std::move(model), std::move(info));
}

}  // namespace lexel
