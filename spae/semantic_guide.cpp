#include "spae/semantic_guide.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <cmath>
#include <utility>

#include "kernels/check.h"

namespace lexel::spae {
namespace {

constexpr int64_t kClasses = 1000;
constexpr int64_t kPooled = 1280;  // the last of the features

at::Tensor unit(const at::Tensor& rows) {
  return rows /
         at::linalg_vector_norm(rows, 2, at::IntArrayRef{-1}, /*keepdim=*/true).clamp_min(1e-8);
}

/// (B, S): the mean of the likeliest classes' vectors, unit length.
at::Tensor class_view(const DualEncoder& guide, const at::Tensor& features) {
  const at::Tensor pooled = features.narrow(1, features.size(1) - kPooled, kPooled);
  const at::Tensor logits = vqgan::class_scores(guide.eye, pooled) / guide.config.class_temperature;
  const auto [likely, which] = at::softmax(logits, 1).topk(guide.config.classes, 1);
  const at::Tensor vectors = guide.class_vectors.index_select(0, which.flatten())
                                 .reshape({which.size(0), which.size(1), -1});
  return unit((likely.unsqueeze(2) * vectors).sum(1));
}

}  // namespace

void validate(const GuideConfig& c) {
  const auto range = [](const char* field, auto value, auto low, auto high) {
    check(value >= low && value <= high, ErrorKind::kUsage, "guide: ", field, ": expected ", low,
          " to ", high, ", got ", value);
  };
  range("image_size", c.image_size, int64_t{32}, int64_t{1024});
  range("hidden", c.hidden, int64_t{1}, int64_t{65536});
  range("word_width", c.word_width, int64_t{1}, int64_t{16384});
  range("clamp", c.clamp, 0.1, 1e3);
  range("class_share", c.class_share, 0.0, 1.0);
  range("class_temperature", c.class_temperature, 1e-3, 1e3);
  range("classes", c.classes, int64_t{1}, kClasses);
}

DualEncoder dual_encoder_layout(const GuideConfig& config) {
  validate(config);
  DualEncoder guide;
  guide.config = config;
  guide.eye = vqgan::perceptual_layout();
  return guide;
}

ParameterList parameters(DualEncoder& guide) {
  const GuideConfig& config = guide.config;
  const int64_t width = vqgan::kDepthFeatures;
  const auto std_of = [](int64_t inputs) { return 1.0 / std::sqrt(static_cast<double>(inputs)); };
  ParameterList list;
  const auto fixed = [&list](const char* name, std::vector<int64_t> shape, Init init,
                             at::Tensor& tensor) {
    list.push_back({name, std::move(shape), init, &tensor, /*group=*/"", /*decay=*/false,
                    /*trained=*/false});
  };
  fixed("feature_mean", {width}, Init::zeros(), guide.feature_mean);
  fixed("feature_scale", {width}, Init::ones(), guide.feature_scale);
  vqgan::list_linear("hidden", guide.hidden, config.hidden, width, /*bias=*/true, std_of(width), "",
                     list);
  vqgan::list_linear("out", guide.out, config.word_width + 1, config.hidden, /*bias=*/true,
                     std_of(config.hidden), "", list);
  list.push_back({"log_scale",
                  {1},
                  Init::zeros(),
                  &guide.log_scale,
                  /*group=*/"",
                  /*decay=*/false});
  fixed("class_vectors", {kClasses, config.word_width}, Init::zeros(), guide.class_vectors);
  return list;
}

ParameterList all_parameters(DualEncoder& guide) {
  ParameterList list = vqgan::parameters(guide.eye);
  for (Parameter& parameter : list) parameter.name = "eye." + parameter.name;
  for (Parameter& parameter : parameters(guide)) list.push_back(std::move(parameter));
  return list;
}

at::Tensor guide_features(const DualEncoder& guide, const at::Tensor& images) {
  check_arg(images.dim() == 4 && images.size(1) == 3 && images.scalar_type() == at::kFloat,
            "guide_features", "expected (B, 3, H, W) float32 images, got ", images.scalar_type(),
            " of shape ", images.sizes());
  const at::NoGradGuard no_grad;
  const int64_t size = guide.config.image_size;
  if (images.size(2) == size && images.size(3) == size) {
    return vqgan::depth_features(guide.eye, images);
  }
  return vqgan::depth_features(
      guide.eye, at::_upsample_bilinear2d_aa(images, {size, size}, /*align_corners=*/false));
}

at::Tensor standardised(const DualEncoder& guide, const at::Tensor& features) {
  const double end = guide.config.clamp;
  return ((features - guide.feature_mean) * guide.feature_scale).clamp(-end, end);
}

GuideView look(const DualEncoder& guide, const at::Tensor& inputs, const at::Tensor& hidden_mask) {
  at::Tensor x = at::gelu(vqgan::apply_linear(guide.hidden, inputs), "tanh");
  if (hidden_mask.defined()) x = x * hidden_mask;
  const at::Tensor out = vqgan::apply_linear(guide.out, x);  // (B, S + 1)
  const int64_t width = guide.config.word_width;
  return {unit(out.narrow(1, 0, width)), out.select(1, width)};
}

at::Tensor guide_scores(const DualEncoder& guide, const at::Tensor& features,
                        const at::Tensor& semantics) {
  const at::NoGradGuard no_grad;
  const GuideView view = look(guide, standardised(guide, features));
  const at::Tensor share = (at::sigmoid(view.photo) * guide.config.class_share).unsqueeze(1);
  const at::Tensor mixed = view.vectors * (1.0 - share) + class_view(guide, features) * share;
  return at::matmul(mixed, semantics.t());  // (B, K)
}

DualEncoderGuide::DualEncoderGuide(DualEncoder guide, at::Tensor semantics)
    : guide_(std::move(guide)), semantics_(std::move(semantics)) {
  check_arg(semantics_.dim() == 2 && semantics_.size(1) == guide_.config.word_width,
            "DualEncoderGuide", "expected words of ", guide_.config.word_width,
            " numbers each, got ", semantics_.sizes());
}

at::Tensor DualEncoderGuide::scores(const at::Tensor& images) const {
  return guide_scores(guide_, guide_features(guide_, images), semantics_);
}

}  // namespace lexel::spae
