#include "kernels/logit_laplace.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log.h>
#include <ATen/ops/logit.h>
#include <cmath>

#include "apps/bench/case.h"
#include "kernels/check.h"

namespace lexel::bench {
namespace {

at::Tensor loss_by_aten(const at::Tensor& output, const at::Tensor& images) {
  const at::Tensor mu = output.narrow(1, 0, 3), log_b = output.narrow(1, 3, 3);
  const at::Tensor x = images.clamp(0, 1).mul(0.8).add(0.1);
  const at::Tensor constant = (2 * x * (1 - x)).log();
  return ((at::logit(x) - mu).abs() * (-log_b).exp() + log_b + constant).mean();
}

Case make_case(int64_t batch, int64_t side, at::Device device) {
  const auto prepare = [batch, side, device] {
    const at::Tensor images = at::empty({batch, 3, side, side}, device).uniform_();
    const at::Tensor output = at::empty({batch, 6, side, side}, device).normal_().requires_grad_();
    const auto backward = [output](const at::Tensor& loss) {
      output.mutable_grad() = at::Tensor();
      loss.backward();
    };
    Runs runs;
    runs.check = [=] {
      backward(kernels::logit_laplace_loss_reference(output, images));
      const at::Tensor wanted = output.grad();
      const at::Tensor loss = kernels::logit_laplace_loss(output, images);
      backward(loss);
      const double difference =
          std::abs(loss.item<double>() -
                   kernels::logit_laplace_loss_reference(output, images).item<double>());
      at::Tensor off = (output.grad() - wanted).abs();
      // At |.|'s corner the sign is a matter of rounding.
      const at::Tensor x = images.clamp(0, 1).mul(0.8).add(0.1).to(at::kDouble);
      const at::Tensor corner = (at::logit(x) - output.detach().narrow(1, 0, 3)).abs().lt(1e-5);
      off.narrow(1, 0, 3).masked_fill_(corner, 0);
      const double slope = off.max().item<double>() / wanted.abs().max().item<double>();
      check(difference < 4e-6 && slope < 4e-6, ErrorKind::kInternal,
            "logit_laplace_loss: ", difference, " and gradient ", slope, " from float64");
      return concat("loss within ", difference, ", gradient within ", slope, " of float64");
    };
    runs.ours = {"logit_laplace_loss",
                 [=] { backward(kernels::logit_laplace_loss(output, images)); }};
    runs.peers.push_back({"LibTorch ops", [=] { backward(loss_by_aten(output, images)); }});
    return runs;
  };
  // Maps and pictures read, the gradient written, and read, scaled and written by the backward pass.
  const auto values = static_cast<double>(batch * 3 * side * side);
  return {"logit_laplace", concat("forward and backward, ", batch, " x 3 x ", side, " x ", side),
          Ceiling::kUpdate, (12 + 8 + 16) * values, prepare};
}

}  // namespace

std::vector<Case> logit_laplace_cases(at::Device device) {
  if (device.is_cuda()) return {make_case(64, 256, device)};
  return {make_case(8, 256, device)};
}

}  // namespace lexel::bench
