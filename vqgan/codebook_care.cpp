#include "vqgan/codebook_care.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/check.h"
#include "kernels/codebook_lookup.h"
#include "kernels/philox.h"
#include "vqgan/patches.h"

namespace lexel::vqgan {
namespace {

// Rows of one product or encoder call: bounds the memory beside the rows themselves.
constexpr int64_t kBlockRows = 65536;
constexpr int64_t kBlockPictures = 32;

at::Tensor unit(const at::Tensor& rows) {
  return rows / rows.norm(2, at::IntArrayRef{-1}, /*keepdim=*/true).clamp_min(1e-12);
}

/// `count` different numbers of 0 .. limit-1, in the order drawn.
at::Tensor draw_without_replacement(int64_t limit, int64_t count, Philox& random) {
  std::vector<int64_t> order(static_cast<size_t>(limit));
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto result = at::empty({count}, at::kLong);
  for (int64_t i = 0; i < count; ++i) {
    const auto j = i + static_cast<int64_t>(random.uniform_int(static_cast<uint64_t>(limit - i)));
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(j)]);
    result.data_ptr<int64_t>()[i] = order[static_cast<size_t>(i)];
  }
  return result;
}

/// k-means++: each next centre is a row drawn with weight = squared distance to the nearest centre so far.
at::Tensor plus_plus_start(const at::Tensor& rows, int64_t clusters, Philox& random) {
  const int64_t count = rows.size(0);
  const auto centres = at::empty({clusters, rows.size(1)}, at::kFloat);
  auto nearest = at::full({count}, INFINITY, at::kDouble);
  auto row = static_cast<int64_t>(random.uniform_int(static_cast<uint64_t>(count)));
  for (int64_t k = 0; k < clusters; ++k) {
    centres.select(0, k).copy_(rows.select(0, row));
    const auto distance = (rows - rows.select(0, row)).square().sum(1).to(at::kDouble);
    nearest = nearest.minimum(distance);
    const auto cumulative = nearest.cumsum(0);
    const double* sums = cumulative.data_ptr<double>();
    const double target = random.uniform() * sums[count - 1];
    row = std::min(std::upper_bound(sums, sums + count, target) - sums, count - 1);
  }
  return centres;
}

/// (D, D) eigenvectors of the rows' covariance, one a column, largest first; and the rows' mean.
std::pair<at::Tensor, at::Tensor> principal_axes(const at::Tensor& rows) {
  const auto mean = rows.mean(0, /*keepdim=*/false, at::kDouble);
  auto covariance = at::zeros({rows.size(1), rows.size(1)}, at::kDouble);
  for (const auto& block : rows.split(kBlockRows)) {
    const auto centred = block.to(at::kDouble) - mean;
    covariance += at::matmul(centred.t(), centred);
  }
  auto axes = std::get<1>(at::linalg_eigh(covariance / rows.size(0))).flip(1);
  // An eigenvector's sign is arbitrary: its largest entry is made positive.
  const auto largest = axes.gather(0, axes.abs().argmax(0, /*keepdim=*/true));
  axes = axes * largest.sign();
  return {axes.to(at::kFloat), mean.to(at::kFloat)};
}

}  // namespace

KMeans kmeans(const at::Tensor& rows, const KMeansOptions& options) {
  check_arg(rows.dim() == 2 && rows.scalar_type() == at::kFloat, "kmeans",
            "expected (M, D) float32 rows, got ", rows.scalar_type(), " of shape ", rows.sizes());
  check_arg(options.clusters >= 1 && rows.size(0) >= options.clusters, "kmeans",
            "expected at least as many rows as clusters, got ", rows.size(0), " rows for ",
            options.clusters, " clusters");
  check_arg(options.rounds >= 0, "kmeans", "expected rounds >= 0, got ", options.rounds);
  const at::NoGradGuard no_grad;
  const int64_t count = rows.size(0), width = rows.size(1), clusters = options.clusters;
  const auto data = rows.detach().cpu().contiguous();  // sums on the CPU have one order
  Philox start(options.seed, "kmeans start");
  at::Tensor centres = options.plus_plus
                           ? plus_plus_start(data, clusters, start)
                           : data.index_select(0, draw_without_replacement(count, clusters, start));
  auto counts = at::zeros({clusters}, at::kLong);
  kernels::LookupOptions lookup;
  lookup.metric = options.spherical ? kernels::CodeMetric::kCosine : kernels::CodeMetric::kL2;
  lookup.count = true;
  for (int64_t round = 0; round < options.rounds; ++round) {
    const auto match = kernels::codebook_lookup(data, centres, lookup);
    const auto& ids = match.ids;
    counts = match.counts;
    const auto sums = at::zeros({clusters, width}, at::kDouble);
    for (int64_t begin = 0; begin < count; begin += kBlockRows) {
      const int64_t n = std::min(kBlockRows, count - begin);
      sums.index_add_(0, ids.narrow(0, begin, n), data.narrow(0, begin, n).to(at::kDouble));
    }
    centres = (sums / counts.clamp_min(1).unsqueeze(1)).to(at::kFloat);
    const auto empty = (counts == 0).nonzero().flatten();
    if (empty.numel() > 0) {
      Philox reseed(options.seed, "kmeans empty", static_cast<uint64_t>(round));
      centres.index_copy_(
          0, empty, data.index_select(0, draw_without_replacement(count, empty.numel(), reseed)));
    }
    if (options.spherical) centres = unit(centres);
  }
  return {centres, counts};
}

void start_codebook_from_latents(Model& model, const at::Tensor& images, int64_t rounds,
                                 uint64_t seed) {
  const at::NoGradGuard no_grad;
  const Config& config = model.config;
  std::vector<at::Tensor> blocks;
  for (const auto& block : images.split(kBlockPictures)) {
    const auto latents = encode_latents(model.encoder, config, block, at::kFloat);
    blocks.push_back(normalized(config, latents).reshape({-1, config.code_width}).cpu());
  }
  KMeansOptions options;
  options.clusters = config.codebook_size;
  options.rounds = rounds;
  options.spherical = config.normalize_codes;
  options.seed = seed;
  model.quantizer.codebook.copy_(kmeans(at::cat(blocks), options).centres);
}

at::Tensor start_from_kmeans(Model& model, const at::Tensor& patches, int64_t rounds,
                             uint64_t seed) {
  const Config& config = model.config;
  const int64_t patch_pixels = 3 * config.patch_size * config.patch_size;
  check_arg(config.linear_path, "start_from_kmeans",
            "expected a config with linear_path, got none");
  check_arg(
      patches.dim() == 2 && patches.size(1) == patch_pixels && patches.scalar_type() == at::kFloat,
      "start_from_kmeans", "expected (M, ", patch_pixels, ") float32 patches, got ",
      patches.scalar_type(), " of shape ", patches.sizes());
  check_arg(patches.size(0) >= config.codebook_size, "start_from_kmeans", "expected at least ",
            config.codebook_size, " patches, got ", patches.size(0));
  const at::NoGradGuard no_grad;
  const auto centred = patches.cpu() - config.pixel_center;
  const auto [all_axes, mean] = principal_axes(centred);
  const auto axes = all_axes.narrow(1, 0, config.code_width - 1);  // (3 P P, code_width - 1)
  const auto coefficients = at::matmul(centred - mean, axes);
  // The first coefficient is the largest; a quarter on average keeps the codes near the pole of the sphere,
  // where cosine is nearly Euclidean.
  const double scale =
      0.25 / std::max(1e-12, coefficients.select(1, 0).abs().mean().item<double>());
  model.encoder.linear_path.weight.copy_(axes.t() * scale);
  model.encoder.linear_path.bias.copy_(at::matmul(mean, axes) * -scale);
  model.decoder.linear_path.weight.copy_(axes / scale);
  model.decoder.linear_path.bias.copy_(mean);

  const auto latents = unit(
      at::cat(at::TensorList{coefficients * scale, at::ones({patches.size(0), 1}, at::kFloat)}, 1));
  KMeansOptions options;
  options.clusters = config.codebook_size;
  options.rounds = rounds;
  options.seed = seed;
  const KMeans codes = kmeans(latents, options);
  model.quantizer.codebook.copy_(codes.centres);
  return codes.counts;
}

CodebookUsage::CodebookUsage(int64_t codebook_size, at::Device device)
    : counts(at::zeros({codebook_size}, at::TensorOptions(at::kFloat).device(device))),
      unused_for(at::zeros({codebook_size}, at::TensorOptions(at::kLong).device(device))),
      since_restart(unused_for.clone()) {}

void CodebookUsage::observe(const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  const auto chosen = at::bincount(ids.flatten(), {}, counts.size(0));
  counts.mul_(decay).add_(chosen);
  unused_for.add_(1).masked_fill_(chosen > 0, 0);
  since_restart.add_(1);
  ++observations;
}

double CodebookUsage::usage(int64_t window) const {
  if (observations == 0) return 0.0;
  return (unused_for < std::min(window, observations)).to(at::kDouble).mean().item<double>();
}

double CodebookUsage::perplexity() const {
  const auto total = counts.sum(at::kDouble);
  if (total.item<double>() <= 0.0) return 1.0;
  const auto share = counts.to(at::kDouble) / total;
  return std::exp(-(share * share.clamp_min(1e-300).log()).sum().item<double>());
}

at::Tensor restart_dead_codes(Model& model, CodebookUsage& usage, const at::Tensor& latents,
                              int64_t step, const RestartOptions& options) {
  const at::NoGradGuard no_grad;
  const auto rows = latents.detach().reshape({-1, model.config.code_width});
  const auto idle = usage.unused_for.minimum(usage.since_restart);
  const auto num_dead = (idle >= options.unused_for).sum().item<int64_t>();
  const int64_t moved = std::min({num_dead, options.max_codes, rows.size(0)});
  if (moved <= 0) return at::empty({0}, usage.unused_for.options());
  const auto ids = idle.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true)
                       .narrow(0, 0, moved)
                       .contiguous();
  Philox random(options.seed, "restart dead codes", static_cast<uint64_t>(step));
  const auto sources = draw_without_replacement(rows.size(0), moved, random).to(rows.device());
  model.quantizer.codebook.index_copy_(0, ids, rows.index_select(0, sources));
  usage.since_restart.index_fill_(0, ids, 0);
  return ids;
}

EmaCodes::EmaCodes(const Model& model, double weight) {
  const at::NoGradGuard no_grad;
  const auto codes = normalized(model.config, model.quantizer.codebook.detach());
  counts = at::full({codes.size(0)}, weight, codes.options());
  sums = codes * weight;
}

void EmaCodes::update(Model& model, const at::Tensor& latents, const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  const int64_t codes = counts.size(0);
  const auto rows = latents.detach().reshape({-1, sums.size(1)});
  const auto chosen = ids.flatten();
  counts.mul_(decay).add_(at::bincount(chosen, {}, codes).to(at::kFloat), 1.0 - decay);
  sums.mul_(decay).index_add_(0, chosen, rows, 1.0 - decay);
  // N_i <- (N_i + eps) / (sum N + K eps) * sum N; a code never chosen keeps its direction on the sphere.
  const auto total = counts.sum();
  const auto smooth =
      (counts + smoothing) / (total + static_cast<double>(codes) * smoothing) * total;
  model.quantizer.codebook.copy_(normalized(model.config, sums / smooth.unsqueeze(1)));
}

void EmaCodes::restarted(const Model& model, const at::Tensor& moved_ids) {
  if (moved_ids.numel() == 0) return;
  const at::NoGradGuard no_grad;
  const auto codes =
      normalized(model.config, model.quantizer.codebook.detach().index_select(0, moved_ids));
  counts.index_fill_(0, moved_ids, restart_weight);
  sums.index_copy_(0, moved_ids, codes * restart_weight);
}

}  // namespace lexel::vqgan
