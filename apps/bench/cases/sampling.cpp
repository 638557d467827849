#include "kernels/sampling.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <limits>
#include <memory>

#include "apps/bench/case.h"
#include "kernels/check.h"

namespace lexel::bench {
namespace {

struct Setup {
  std::string name;
  int64_t batch, vocabulary;
  kernels::SamplingOptions options;
};

struct Inputs {
  at::Tensor conditional, unconditional;  // (B, V)
  at::Tensor pictures, positions;         // (B)
  at::Tensor noise;                       // (B, V) of the exponential distribution
};

Inputs make_inputs(const Setup& setup, at::Device device) {
  const auto logits = [&] {
    return at::randn({setup.batch, setup.vocabulary}, at::kFloat).mul_(2).to(device);
  };
  Inputs inputs{logits(), logits(), at::arange(setup.batch, at::kLong).to(device), {}, {}};
  inputs.positions = inputs.pictures.add(7);
  inputs.noise = at::empty_like(inputs.conditional).exponential_();
  return inputs;
}

/// How LibTorch does it: about twenty operations.
void chain(const Inputs& in, const kernels::SamplingOptions& options) {
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  at::Tensor logits = in.conditional.sub(in.unconditional)
                          .mul_(options.guidance)
                          .add_(in.unconditional)
                          .div_(options.temperature);
  if (options.top_k > 0) {
    const at::Tensor least = std::get<0>(logits.topk(options.top_k)).slice(1, options.top_k - 1);
    logits.masked_fill_(logits.lt(least), kNever);
  }
  if (options.top_p < 1.0) {
    auto [sorted, order] = logits.sort(/*dim=*/-1, /*descending=*/true);
    const at::Tensor probabilities = sorted.softmax(-1);
    sorted.masked_fill_(probabilities.cumsum(-1).sub_(probabilities).ge(options.top_p), kNever);
    logits.scatter_(1, order, sorted);
  }
  const at::Tensor probabilities = logits.softmax(-1);
  // multinomial(), less its random numbers, which a captured graph would need a generator for.
  const at::Tensor ids = in.noise.is_cuda()
                             ? probabilities.div(in.noise).argmax(1, /*keepdim=*/true)
                             : probabilities.multinomial(1);
  probabilities.gather(1, ids).log_();
}

std::string compare(const Setup& setup, const Inputs& in) {
  const auto run = [&](auto function) {
    return function(in.conditional, in.unconditional, in.pictures, in.positions, setup.options);
  };
  const kernels::Drawn got = run(kernels::sample), wanted = run(kernels::sample_reference);
  check(
      at::equal(got.ids, wanted.ids) && at::equal(got.log_probabilities, wanted.log_probabilities),
      ErrorKind::kInternal, "sampling: ", setup.name, ": not the reference's tokens");
  return concat("tokens and log-probabilities equal in ", setup.batch, " rows");
}

Runs prepare(const Setup& setup, at::Device device) {
  const at::NoGradGuard no_grad;
  const auto inputs = std::make_shared<const Inputs>(make_inputs(setup, device));
  Runs runs;
  runs.check = [setup, inputs] { return compare(setup, *inputs); };
  runs.ours = {"sample", [inputs, options = setup.options] {
                 kernels::sample(inputs->conditional, inputs->unconditional, inputs->pictures,
                                 inputs->positions, options);
               }};
  runs.peers.push_back(
      {"LibTorch topk, sort, softmax, multinomial", [inputs, options = setup.options] {
         const at::NoGradGuard no_gradients;
         chain(*inputs, options);
       }});
  return runs;
}

}  // namespace

std::vector<Case> sampling_cases(at::Device device) {
  const Setup setups[] = {
      {"1 x 8192, guidance, top-k 256, top-p 0.95", 1, 8192, {3.0, 0.9, 256, 0.95, 1}},
      {"1 x 8192, guidance, top-p 0.95", 1, 8192, {3.0, 0.9, 0, 0.95, 1}},
      {"1 x 8192, guidance, top-k 256", 1, 8192, {3.0, 0.9, 256, 1.0, 1}},
      {"16 x 8192, guidance, top-k 256, top-p 0.95", 16, 8192, {3.0, 0.9, 256, 0.95, 1}},
  };
  std::vector<Case> cases;
  for (const Setup& setup : setups) {
    cases.push_back({"sampling", setup.name, Ceiling::kLaunch, 0.0,
                     [setup, device] { return prepare(setup, device); }});
  }
  return cases;
}

}  // namespace lexel::bench
