#include "autoregressive/moe/gating_reference.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <vector>

namespace lexel::moe {
namespace {

/// The largest of p (E), without expert `but`; the lower index of equals.
int64_t largest(const at::Tensor& p, int64_t but) {
  int64_t best = -1;
  for (int64_t e = 0; e < p.size(0); ++e) {
    if (e == but) continue;
    if (best < 0 || p[e].item<double>() > p[best].item<double>()) best = e;
  }
  return best;
}

}  // namespace

DenseGating gating_reference(const at::Tensor& logits, const at::Tensor& noise,
                             const GatingOptions& options) {
  const int64_t groups = logits.size(0), size = logits.size(1), experts = logits.size(2);
  const int64_t capacity = expert_capacity(options.capacity_factor, size, experts);
  const bool lingvo = options.rules == Gating::kLingvo;
  const at::Tensor p = at::softmax(logits.to(at::kDouble), -1);
  DenseGating result{at::zeros({groups, size, experts, capacity}, p.options()),
                     at::zeros({}, p.options())};
  // Gates are put in their places by adding them to zeros times a mask, which autograd follows.
  const auto put = [&](int64_t g, int64_t s, int64_t e, int64_t c, const at::Tensor& gate) {
    at::Tensor mask = at::zeros(result.combine.sizes(), at::kDouble);
    mask[g][s][e][c] = 1.0;
    result.combine = result.combine + mask * gate;
  };
  for (int64_t g = 0; g < groups; ++g) {
    std::vector<int64_t> c(static_cast<size_t>(experts), 0), e1, e2;
    std::vector<at::Tensor> gate1, gate2;
    for (int64_t s = 0; s < size; ++s) {
      e1.push_back(largest(p[g][s], -1));
      e2.push_back(largest(p[g][s], e1.back()));
      const at::Tensor g1 = p[g][s][e1.back()], g2 = p[g][s][e2.back()];
      gate1.push_back(g1 / (g1 + g2));
      gate2.push_back(g2 / (g1 + g2));
    }
    for (int64_t s = 0; s < size; ++s) {
      int64_t& count = c[static_cast<size_t>(e1[static_cast<size_t>(s)])];
      if (count < capacity)
        put(g, s, e1[static_cast<size_t>(s)], count, gate1[static_cast<size_t>(s)]);
      ++count;
    }
    const at::Tensor m = p[g].mean(0);
    for (int64_t e = 0; e < experts; ++e) {
      const double share = double(c[static_cast<size_t>(e)]) / double(size);
      result.auxiliary =
          result.auxiliary +
          m[e] * (share / double(groups) * (lingvo ? double(experts) : 1.0 / double(experts)));
    }
    for (int64_t s = 0; s < size; ++s) {
      int64_t& count = c[static_cast<size_t>(e2[static_cast<size_t>(s)])];
      const at::Tensor& gate = gate2[static_cast<size_t>(s)];
      const bool wanted = 2.0 * gate.item<double>() > noise[g][s].item<double>();
      if (lingvo && count > capacity) count = capacity;  // overflow of first choices is forgotten
      if (wanted && count < capacity) put(g, s, e2[static_cast<size_t>(s)], count, gate);
      if (wanted || !lingvo) ++count;
    }
  }
  return result;
}

at::Tensor experts_reference(const at::Tensor& x, const DenseGating& gating, const at::Tensor& up,
                             const at::Tensor& down) {
  const at::Tensor dispatch = gating.combine.detach().gt(0.0).to(at::kDouble);
  const at::Tensor in = at::einsum("gsec,gsm->egcm", {dispatch, x});
  const at::Tensor hidden = at::relu(at::einsum("egcm,ehm->egch", {in, up}));
  const at::Tensor out = at::einsum("egch,emh->egcm", {hidden, down});
  return at::einsum("gsec,egcm->gsm", {gating.combine, out});
}

}  // namespace lexel::moe
