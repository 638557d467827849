#include "apps/eval/paired_frechet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_svdvals.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>

#include "kernels/check.h"

namespace lexel::eval {
namespace {

/// Products of centred rows from products of rows.
at::Tensor centred(const at::Tensor& products) {
  return products - products.mean(0, /*keepdim=*/true) - products.mean(1, /*keepdim=*/true) +
         products.mean();
}

}  // namespace

PairedFrechet::PairedFrechet(const at::Tensor& a, const at::Tensor& b) {
  check_arg(a.dim() == 2 && a.size(0) >= 2 && a.sizes() == b.sizes(), "PairedFrechet",
            "expected two feature sets (N >= 2, D), got ", a.sizes(), " and ", b.sizes());
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  aa_ = x.matmul(x.t());
  bb_ = y.matmul(y.t());
  ab_ = x.matmul(y.t());
}

double PairedFrechet::distance(const std::vector<int64_t>& pairs) const {
  const at::Tensor chosen = at::tensor(pairs, at::kLong);
  const auto pick = [&chosen](const at::Tensor& products) {
    return products.index_select(0, chosen).index_select(1, chosen);
  };
  const at::Tensor aa = pick(aa_), bb = pick(bb_), ab = pick(ab_);
  // |m1 - m2|^2 = mean of all products of the differences.
  const at::Tensor means = aa.mean() + bb.mean() - 2.0 * ab.mean();
  const double n = static_cast<double>(pairs.size());
  const at::Tensor traces = (centred(aa).trace() + centred(bb).trace()) / (n - 1.0);
  const at::Tensor common = at::linalg_svdvals(centred(ab)).sum() / (n - 1.0);
  return (means + traces - 2.0 * common).item<double>();
}

}  // namespace lexel::eval
