#include "kernels/pyramid_lookup.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cdist.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "apps/bench/case.h"
#include "kernels/check.h"

namespace lexel::bench {
namespace {

using kernels::pyramid_lookup;
using Layers = std::vector<std::vector<int64_t>>;

constexpr int64_t kGrid = 16, kWords = 5452;

/// SPAE's six layers on 16 x 16 positions, as spae/pyramid.h makes them: 597 tokens.
Layers six_layers() {
  Layers layers;
  for (const int64_t side : {1, 2, 4, 8, 16, 16}) {
    const int64_t step = kGrid / side, back = (step + 1) / 2;
    std::vector<int64_t>& positions = layers.emplace_back();
    for (int64_t i = 1; i <= side; ++i) {
      for (int64_t j = 1; j <= side; ++j) {
        positions.push_back((step * i - back) * kGrid + step * j - back);
      }
    }
  }
  return layers;
}

at::Tensor unit_vectors(uint64_t seed, at::IntArrayRef shape, at::Device device) {
  const at::Tensor x = at::empty(shape).normal_(0.0, 1.0, at::detail::createCPUGenerator(seed));
  return x.div(x.norm(2, -1, /*keepdim=*/true)).to(device);
}

/// Layer by layer, as one writes it: gather, look up, add. The indices of the layers and their counts lie ready.
struct Plain {
  std::vector<at::Tensor> positions, times;  // (n), (n, 1): how often each has been visited before

  Plain(const Layers& layers, at::Device device) {
    std::vector<float> visits(static_cast<size_t>(kGrid * kGrid), 0.F);
    for (const std::vector<int64_t>& layer : layers) {
      std::vector<float> before;
      for (const int64_t position : layer)
        before.push_back(visits[static_cast<size_t>(position)]++);
      positions.push_back(at::tensor(layer, at::kLong).to(device));
      times.push_back(at::tensor(before).to(device).unsqueeze(1));
    }
  }

  template <class Nearest>
  at::Tensor operator()(const at::Tensor& latents, const at::Tensor& codes,
                        Nearest&& nearest) const {
    at::Tensor sums = at::zeros(latents.sizes(), latents.options());
    std::vector<at::Tensor> ids;
    for (size_t layer = 0; layer < positions.size(); ++layer) {
      const at::Tensor query = latents.index_select(1, positions[layer]) * (times[layer] + 1) -
                               sums.index_select(1, positions[layer]);  // (B, n, D)
      ids.push_back(nearest(query, codes));                             // (B, n)
      sums.index_add_(1, positions[layer],
                      codes.index_select(0, ids.back().flatten()).reshape(query.sizes()));
    }
    return at::cat(ids, 1);
  }
};

at::Tensor by_matmul(const at::Tensor& query, const at::Tensor& codes) {
  return at::matmul(query, codes.t()).argmax(2);
}

at::Tensor by_distance(const at::Tensor& query, const at::Tensor& codes) {
  return at::cdist(query.flatten(0, 1), codes).argmin(1).reshape({query.size(0), query.size(1)});
}

Case make_case(int64_t batch, int64_t width, at::Device device) {
  const auto prepare = [batch, width, device] {
    const at::NoGradGuard no_grad;
    const Layers layers = six_layers();
    const at::Tensor latents = unit_vectors(1, {batch, kGrid * kGrid, width}, device);
    const at::Tensor codes = unit_vectors(2, {kWords, width}, device);
    const Plain plain(layers, device);
    Runs runs;
    runs.check = [=] {
      const at::Tensor ours = pyramid_lookup(latents, codes, layers).ids;
      const auto same = ours.eq(plain(latents, codes, by_matmul)).sum().item<int64_t>();
      // A near tie may flip, and then what comes after it at that position.
      check(same >= ours.numel() - ours.numel() / 1000, ErrorKind::kInternal,
            "pyramid_lookup: only ", same, " of ", ours.numel(), " ids are those of matmul");
      return concat("ids equal those of plain ATen in ", same, " of ", ours.numel());
    };
    runs.ours = {"pyramid_lookup", [=] { pyramid_lookup(latents, codes, layers); }};
    runs.peers.push_back({"LibTorch gather, matmul + argmax, index_add by layers",
                          [=] { plain(latents, codes, by_matmul); }});
    runs.peers.push_back(
        {"the same with cdist + argmin", [=] { plain(latents, codes, by_distance); }});
    return runs;
  };
  const auto flop = 2.0 * 597.0 * static_cast<double>(batch * kWords * width);
  return {"pyramid_lookup", concat(batch, " pictures x 597 tokens, ", kWords, " words x ", width),
          device.is_cpu() ? Ceiling::kFma : Ceiling::kTensor, flop, prepare};
}

}  // namespace

std::vector<Case> pyramid_lookup_cases(at::Device device) {
  return {make_case(1, 32, device), make_case(32, 32, device), make_case(8, 256, device)};
}

}  // namespace lexel::bench
