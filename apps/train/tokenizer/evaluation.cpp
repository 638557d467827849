#include "apps/train/tokenizer/evaluation.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <algorithm>
#include <limits>

#include "apps/eval/floors.h"
#include "apps/eval/metrics.h"
#include "tokenizers/io/image.h"

namespace lexel::train {
namespace {

constexpr int64_t kBatch = 25;  // pictures of a forward pass

at::Tensor to_unit(const at::Tensor& bytes, at::Device device) {
  return bytes.to(device).to(at::kFloat).div(255.0);
}

/// Sum over pictures of their PSNR, dB, with 100 for equal pictures; clamped to [0, 1] first.
double sum_of_psnr(const at::Tensor& pictures, const at::Tensor& references) {
  return eval::psnr(pictures.clamp(0.0, 1.0), references).clamp_max(100.0).sum().item<double>();
}

}  // namespace

Floor floor_of(const at::Tensor& images, const at::Tensor& centres, int64_t patch_size) {
  const at::NoGradGuard no_grad;
  double mosaic = 0.0, kmeans = 0.0;
  for (int64_t i = 0; i < images.size(0); i += kBatch) {
    const at::Tensor x = to_unit(images.slice(0, i, i + kBatch), at::kCPU);
    mosaic += sum_of_psnr(eval::mosaic(x, patch_size), x);
    if (!centres.defined()) continue;
    kmeans += sum_of_psnr(eval::nearest_patches(x, centres, patch_size), x);
  }
  const double count = double(images.size(0));
  return {mosaic / count,
          centres.defined() ? kmeans / count : std::numeric_limits<double>::quiet_NaN()};
}

Evaluation evaluate(const vqgan::Model& model, const std::vector<HeldOutSet>& sets,
                    at::ScalarType compute, at::Device device, int64_t shown) {
  const at::NoGradGuard no_grad;
  Evaluation result;
  const int64_t grid = model.config.image_size / model.config.patch_size;
  std::vector<at::Tensor> ids, originals, reconstructions;
  int64_t sets_left = int64_t(sets.size());
  for (const HeldOutSet& set : sets) {
    const int64_t count = set.images.size(0);
    // What small sets leave of their share goes to the next ones.
    const int64_t keep = std::min(shown / std::max<int64_t>(sets_left--, 1), count);
    shown -= keep;
    SetResult scores{set.name, count};
    for (int64_t i = 0; i < set.images.size(0); i += kBatch) {
      const at::Tensor x = to_unit(set.images.slice(0, i, i + kBatch), device);
      const auto pass = vqgan::forward(model, x, compute);
      const at::Tensor free = vqgan::output_pictures(
          model.config,
          vqgan::decode_codes(model.decoder, model.config, pass.latents, grid, grid, compute));
      scores.psnr += sum_of_psnr(pass.pictures, x);
      scores.unquantized += sum_of_psnr(free, x);
      ids.push_back(pass.ids.flatten().cpu());
      for (int64_t k = 0; k < keep; ++k) {  // spread evenly over the set
        const int64_t row = k * count / keep - i;
        if (row < 0 || row >= x.size(0)) continue;
        originals.push_back(x.slice(0, row, row + 1).cpu());
        reconstructions.push_back(pass.pictures.slice(0, row, row + 1).clamp(0.0, 1.0).cpu());
      }
    }
    scores.psnr /= double(std::max<int64_t>(scores.pictures, 1));
    scores.unquantized /= double(std::max<int64_t>(scores.pictures, 1));
    result.sets.push_back(scores);
  }
  if (!originals.empty()) {
    result.originals = at::cat(originals);
    result.reconstructions = at::cat(reconstructions);
  }
  if (!ids.empty()) {
    const eval::CodebookStatistics codes =
        eval::codebook_statistics(at::cat(ids), model.config.codebook_size);
    result.usage = codes.usage;
    result.perplexity = codes.perplexity;
  }
  return result;
}

void write_sample_strip(const std::string& path, const at::Tensor& pictures, int64_t count) {
  // Every so many, so that all sets are seen.
  const int64_t every = std::max<int64_t>(1, pictures.size(0) / count);
  const at::Tensor chosen = pictures.slice(0, 0, std::min(count * every, pictures.size(0)), every);
  const int64_t size = chosen.size(2);
  const at::Tensor strip = chosen.permute({1, 2, 0, 3}).reshape({3, size, chosen.size(0) * size});
  write_image(path, to_image(strip));
}

void write_sample_grid(const std::string& path, const at::Tensor& originals,
                       const at::Tensor& reconstructions, int64_t pairs_per_row) {
  const int64_t count = originals.size(0), size = originals.size(2);
  const int64_t rows = (count + pairs_per_row - 1) / pairs_per_row;
  at::Tensor pairs = at::cat({originals, reconstructions}, 3);  // (n, 3, S, 2 S)
  if (rows * pairs_per_row > count) {
    pairs = at::cat({pairs, at::full({rows * pairs_per_row - count, 3, size, 2 * size}, 1.0f)});
  }
  const at::Tensor grid = pairs.view({rows, pairs_per_row, 3, size, 2 * size})
                              .permute({2, 0, 3, 1, 4})
                              .reshape({3, rows * size, pairs_per_row * 2 * size});
  write_image(path, to_image(grid));
}

}  // namespace lexel::train
