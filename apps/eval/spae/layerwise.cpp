#include "apps/eval/spae/layerwise.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <algorithm>

#include "apps/eval/floors.h"
#include "apps/eval/metrics.h"

namespace lexel::eval {
namespace {

constexpr int64_t kBatch = 16;
constexpr int64_t kPooled = 1280;  // the last of the eye's features: what distances are measured on

void append(std::vector<double>& to, const at::Tensor& values) {
  const at::Tensor row = values.to(at::kDouble).cpu().contiguous();
  to.insert(to.end(), row.const_data_ptr<double>(), row.const_data_ptr<double>() + row.numel());
}

/// Guide scores of each layer's words, 0 the picture's worst word of all and 1 its best.
void add_scores(const spae::Model& model, const at::Tensor& scores, const at::Tensor& ids,
                std::vector<double>& sums) {
  const at::Tensor low = scores.amin(1, true), high = scores.amax(1, true);
  const at::Tensor scaled = (scores - low) / (high - low).clamp_min(1e-12);
  for (int64_t l = 0; l < model.pyramid.layers(); ++l) {
    const int64_t first = model.pyramid.tokens(l);
    const at::Tensor layer = ids.narrow(1, first, model.pyramid.tokens(l + 1) - first);
    sums[static_cast<size_t>(l)] += scaled.gather(1, layer).mean(1).sum().item<double>();
  }
}

}  // namespace

Layerwise layerwise(const spae::Model& model, const spae::DualEncoder* eye,
                    const spae::DualEncoderGuide* guide, int64_t count,
                    const std::function<at::Tensor(int64_t)>& picture, int64_t rows,
                    const std::function<void(int64_t)>& done) {
  const at::NoGradGuard no_grad;
  const auto layers = static_cast<size_t>(model.pyramid.layers());
  Layerwise all;
  all.psnr.resize(layers);
  all.ssim.resize(layers);
  if (guide != nullptr) all.scores.resize(layers);
  std::vector<at::Tensor> ids, seen, seen_mosaic;
  std::vector<std::vector<at::Tensor>> seen_drawn(layers);
  const auto look = [&](const at::Tensor& images, std::vector<at::Tensor>& to) {
    if (eye == nullptr) return at::Tensor();
    const at::Tensor features = spae::guide_features(*eye, images);
    to.push_back(features.narrow(1, features.size(1) - kPooled, kPooled).cpu());
    return features;
  };
  rows = std::min(rows, count);
  for (int64_t begin = 0; begin < count; begin += kBatch) {
    std::vector<at::Tensor> batch;
    for (int64_t i = begin; i < std::min(begin + kBatch, count); ++i) batch.push_back(picture(i));
    const at::Tensor images = at::stack(batch).to(model.codebook.codes.device());
    const at::Tensor features = look(images, seen);
    ids.push_back(
        spae::encode(model, images, model.config.feature_width > 0 ? features : at::Tensor()));
    std::vector<at::Tensor> columns{images, mosaic(images, kMosaicPatch)};
    append(all.mosaic_psnr, psnr(columns[1], images));
    append(all.mosaic_ssim, ssim(columns[1], images));
    look(columns[1], seen_mosaic);
    for (size_t n = 0; n < layers; ++n) {
      const int64_t tokens = model.pyramid.tokens(int64_t(n) + 1);
      columns.push_back(spae::decode(model, ids.back().narrow(1, 0, tokens).contiguous()));
      append(all.psnr[n], psnr(columns.back(), images));
      append(all.ssim[n], ssim(columns.back(), images));
      look(columns.back(), seen_drawn[n]);
    }
    if (guide != nullptr) add_scores(model, guide->scores(images), ids.back(), all.scores);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t i = row * count / rows - begin;
      if (i < 0 || i >= images.size(0)) continue;
      std::vector<at::Tensor>& line = all.sheet.emplace_back();
      for (const at::Tensor& column : columns) line.push_back(column[i].cpu());
    }
    done(images.size(0));
  }
  for (double& score : all.scores) score /= static_cast<double>(std::max<int64_t>(count, 1));
  if (count == 0) return all;
  all.ids = at::cat(ids).cpu();
  if (eye == nullptr) return all;
  all.seen = at::cat(seen);
  all.seen_mosaic = at::cat(seen_mosaic);
  for (const auto& parts : seen_drawn) all.seen_drawn.push_back(at::cat(parts));
  return all;
}

}  // namespace lexel::eval
