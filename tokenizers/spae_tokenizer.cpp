#include "tokenizers/spae_tokenizer.h"

#include <ATen/core/grad_mode.h>
#include <filesystem>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/config_json.h"
#include "tokenizers/spae_file.h"

namespace lexel {
namespace {

class SpaeTokenizer final : public ImageTokenizer {
 public:
  SpaeTokenizer(spae::Model model, TokenizerInfo info, PictureFeatures features)
      : model_(std::move(model)), info_(std::move(info)), features_(std::move(features)) {}

  const TokenizerInfo& info() const override { return info_; }

  at::Tensor encode(const at::Tensor& images) const override {
    const int64_t size = info_.image_size;
    check_arg(images.dim() == 4 && images.size(1) == 3 && images.size(2) == size &&
                  images.size(3) == size && images.scalar_type() == at::kFloat,
              "encode", "expected (B, 3, ", size, ", ", size, ") float32 pictures, got ",
              images.scalar_type(), " of shape ", images.sizes());
    const at::NoGradGuard no_grad;
    const at::Tensor here = images.to(model_.codebook.codes.device());
    if (model_.config.feature_width == 0) return spae::encode(model_, here).cpu();
    check(static_cast<bool>(features_), ErrorKind::kUnsupported, info_.name,
          ": this model sees frozen features of ", model_.config.feature_width,
          " numbers, which are not here; it can draw only");
    return spae::encode(model_, here, features_(here)).cpu();
  }

  at::Tensor decode(const at::Tensor& tokens) const override {
    check_arg(tokens.dim() == 2 && at::isIntegralType(tokens.scalar_type(), /*includeBool=*/false),
              "decode", "expected (B, tokens) integers, got ", tokens.scalar_type(), " of shape ",
              tokens.sizes());
    const at::NoGradGuard no_grad;
    return spae::decode(model_, tokens.to(model_.codebook.codes.device(), at::kLong)).cpu();
  }

 private:
  spae::Model model_;
  TokenizerInfo info_;
  PictureFeatures features_;
};

}  // namespace

std::unique_ptr<ImageTokenizer> make_spae_tokenizer(const ModelFile& file, const std::string& name,
                                                    at::Device device, PictureFeatures features) {
  spae::Model model = spae_model(file, name, device);
  TokenizerInfo info;
  info.kind = file.kind;
  info.name = std::filesystem::path(name).filename().string();
  info.image_size = model.config.image_size;
  info.grid_height = info.grid_width = model.pyramid.grid();
  info.layer_sides = model.pyramid.sides;
  info.codebook_size = model.config.num_words;
  info.parameter_count = parameter_count(spae::parameters(model));
  info.words = model.codebook.words;
  info.codebook_fingerprint = model.codebook.fingerprint;
  info.preprocess = preprocess_from_json(file.preprocess, name);
  info.license = file.license;
  info.provenance = file.provenance;
  return std::make_unique<SpaeTokenizer>(std::move(model), std::move(info), std::move(features));
}

}  // namespace lexel
