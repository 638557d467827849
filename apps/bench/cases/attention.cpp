#include "kernels/attention.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <cmath>
#include <limits>
#include <memory>

#include "apps/bench/case.h"
#include "kernels/check.h"

namespace lexel::bench {
namespace {

using kernels::AttentionMask;
using Kind = AttentionMask::Kind;

struct Shape {
  int64_t batch, heads, queries, keys, width;
};

struct Setup {
  std::string name;
  Shape shape;
  AttentionMask mask;
  at::ScalarType type = at::kFloat;
  bool backward = false;
  double padding = 0.0;  // share of the keys
};

struct Inputs {
  at::Tensor q, k, v,
      grad;             // (B, H, N, d), as views of (B, N, H, d): what a fused projection gives
  at::Tensor key_mask;  // (B, M) or undefined
  at::Tensor sees;      // (N, M) or (B, 1, N, M) bool, for the peers; undefined: all
};

/// Pairs of query and key that the mask lets through: what a call has to compute.
double pairs(const Setup& setup) {
  const Shape& s = setup.shape;
  const auto real = static_cast<int64_t>(static_cast<double>(s.keys) * (1 - setup.padding));
  return static_cast<double>(s.batch * s.heads) *
         kernels::mask_table(setup.mask, s.queries, real).sum().item<double>();
}

Inputs make_inputs(const Setup& setup, at::Device device) {
  const Shape& s = setup.shape;
  const auto random = [&](int64_t tokens) {
    return at::randn({s.batch, tokens, s.heads, s.width}, at::kFloat)
        .to(setup.type)
        .to(device)
        .transpose(1, 2)
        .requires_grad_(setup.backward);
  };
  Inputs inputs{
      random(s.queries), random(s.keys), random(s.keys), random(s.queries).detach(), {}, {}};
  if (setup.mask.kind != Kind::kFull) {
    inputs.sees = kernels::mask_table(setup.mask, s.queries, s.keys).to(device);
  }
  if (setup.padding > 0.0) {
    const auto real = static_cast<int64_t>(static_cast<double>(s.keys) * (1 - setup.padding));
    at::Tensor key_mask = at::ones({s.batch, s.keys}, at::kBool);
    key_mask.slice(1, real, s.keys).fill_(false);
    inputs.key_mask = key_mask.to(device);
    inputs.sees = inputs.key_mask.unsqueeze(1).unsqueeze(1);
  }
  return inputs;
}

/// matmul, mask, softmax, matmul: the whole score matrix.
at::Tensor explicit_attention(const Inputs& inputs) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(inputs.q.size(3)));
  at::Tensor scores = at::matmul(inputs.q.mul(scale), inputs.k.transpose(2, 3));
  if (inputs.sees.defined()) {
    scores = scores.masked_fill(inputs.sees.logical_not(), -std::numeric_limits<float>::infinity());
  }
  return at::matmul(at::softmax(scores, -1), inputs.v);
}

at::Tensor sdpa(const Inputs& inputs, bool is_causal) {
  const c10::optional<at::Tensor> sees =
      !is_causal && inputs.sees.defined() ? c10::make_optional(inputs.sees) : c10::nullopt;
  return at::scaled_dot_product_attention(inputs.q, inputs.k, inputs.v, sees, 0.0, is_causal);
}

using Function = std::function<at::Tensor(const Inputs&)>;

/// The first two heads of the first picture against float64, in and out.
std::string compare(const Setup& setup, const Inputs& inputs) {
  const at::NoGradGuard no_grad;
  const auto part = [](const at::Tensor& x) { return x.slice(0, 0, 1).slice(1, 0, 2); };
  const at::Tensor keys = inputs.key_mask.defined() ? inputs.key_mask.slice(0, 0, 1) : at::Tensor();
  const at::Tensor wanted = kernels::attention_reference(part(inputs.q), part(inputs.k),
                                                         part(inputs.v), setup.mask, keys);
  const at::Tensor got =
      part(kernels::attention(inputs.q, inputs.k, inputs.v, setup.mask, inputs.key_mask));
  const double difference =
      got.to(at::kFloat).sub(wanted.to(at::kFloat)).abs().max().item<double>();
  const double size = inputs.v.abs().max().item<double>();
  const double allowed = setup.type == at::kFloat ? 4e-6 : 0.015;  // as in the test
  check(difference <= allowed * size, ErrorKind::kInternal, "attention: ", setup.name, ": off by ",
        difference, " where values reach ", size);
  return concat("off float64 by ", difference, " of ", size);
}

Runs prepare(const Setup& setup, at::Device device) {
  const auto inputs = std::make_shared<Inputs>(make_inputs(setup, device));
  const auto contender = [inputs, setup](const std::string& name, const Function& function) {
    return Contender{name, [inputs, setup, function] {
                       if (!setup.backward) {
                         const at::NoGradGuard no_grad;
                         function(*inputs);
                         return;
                       }
                       for (at::Tensor* const x : {&inputs->q, &inputs->k, &inputs->v}) {
                         x->mutable_grad() = at::Tensor();
                       }
                       function(*inputs).backward(inputs->grad);
                     }};
  };
  Runs runs;
  runs.ours = contender("Lexel", [mask = setup.mask](const Inputs& in) {
    return kernels::attention(in.q, in.k, in.v, mask, in.key_mask);
  });
  const bool masked = inputs->sees.defined();
  runs.peers.push_back(contender(masked ? "LibTorch SDPA, bool mask" : "LibTorch SDPA",
                                 [](const Inputs& in) { return sdpa(in, false); }));
  if (setup.mask.kind == Kind::kCausal) {
    runs.peers.push_back(
        contender("LibTorch SDPA, is_causal", [](const Inputs& in) { return sdpa(in, true); }));
  }
  if (device.is_cuda() && (!masked || setup.mask.kind == Kind::kCausal)) {
    // Which of its kernels SDPA takes changes with its release: each by itself.
    const bool causal = masked;
    const auto only = [causal](bool cudnn) {
      return [causal, cudnn](const Inputs& in) {
        at::Context& context = at::globalContext();
        const bool flash_before = context.userEnabledFlashSDP();
        const bool cudnn_before = context.userEnabledCuDNNSDP();
        context.setSDPUseFlash(!cudnn);
        context.setSDPUseCuDNN(cudnn);
        const at::Tensor out = sdpa(in, causal);
        context.setSDPUseFlash(flash_before);
        context.setSDPUseCuDNN(cudnn_before);
        return out;
      };
    };
    runs.peers.push_back(contender("LibTorch SDPA, flash", only(false)));
    runs.peers.push_back(contender("LibTorch SDPA, cuDNN", only(true)));
  }
  if (device.is_cuda() && (!masked || setup.mask.kind == Kind::kCausal)) {
    // Lexel leaves some of these to cuDNN; the same mask by another name goes to its own kernel.
    const auto same = AttentionMask::with_prefix(masked ? 0 : setup.shape.keys);
    runs.peers.push_back(contender("Lexel's own kernel", [same](const Inputs& in) {
      return kernels::attention(in.q, in.k, in.v, same);
    }));
  }
  if (device.is_cuda() && setup.mask.kind == Kind::kConv) {
    runs.peers.push_back(contender("Lexel, causal", [](const Inputs& in) {
      return kernels::attention(in.q, in.k, in.v, AttentionMask::causal());
    }));
  }
  runs.peers.push_back(contender("LibTorch matmul + softmax", explicit_attention));
  runs.check = [setup, inputs] { return compare(setup, *inputs); };
  return runs;
}

}  // namespace

std::vector<Case> attention_cases(at::Device device) {
  const AttentionMask full, causal = AttentionMask::causal(), conv = AttentionMask::conv(32, 11);
  const AttentionMask prefix = AttentionMask::with_prefix(128);
  // CPU: a picture of 256 tokens of lexel-128 and of ViT-VQGAN-small, and two pictures of 1024 tokens. CUDA: 16,384 tokens of
  // model width 2048, as published numbers have it.
  const bool cuda = device.is_cuda();
  const Shape picture{8, 4, 256, 256, 64};
  const Shape sequence = cuda ? Shape{16, 32, 1024, 1024, 64} : Shape{2, 16, 1024, 1024, 64};
  const Shape cross = cuda ? Shape{16, 32, 1024, 128, 64} : Shape{2, 16, 1024, 128, 64};
  const at::ScalarType type = cuda ? at::kBFloat16 : at::kFloat;
  std::vector<Setup> setups{
      {"full, 256 tokens", picture, full, type},
      {"full, 256 tokens, forward + backward", picture, full, type, true},
      {"full, 1024 tokens", sequence, full, type},
      {"causal, 1024 tokens", sequence, causal, type},
      {"causal, 1024 tokens, forward + backward", sequence, causal, type, true},
      {"prefix 128, 1024 tokens", sequence, prefix, type},
      {"conv 11 x 11, 32 x 32 tokens", sequence, conv, type},
      {"conv 11 x 11, 32 x 32 tokens, forward + backward", sequence, conv, type, true},
      {"cross, 1024 tokens, 128 keys, 40% padding", cross, full, type, false, 0.4},
  };
  if (cuda) {
    setups.push_back(
        {"causal, 1024 tokens, head width 128", {16, 16, 1024, 1024, 128}, causal, type});
    setups.push_back({"full, 1024 tokens, head width 128", {16, 16, 1024, 1024, 128}, full, type});
  } else {
    setups.push_back({"full, 256 tokens, bfloat16", picture, full, at::kBFloat16});
    setups.push_back(
        {"full, 256 tokens, bfloat16, forward + backward", picture, full, at::kBFloat16, true});
    setups.push_back({"full, 256 tokens, batch 32, bfloat16, forward + backward",
                      {32, 4, 256, 256, 64},
                      full,
                      at::kBFloat16,
                      true});
    setups.push_back({"conv 11 x 11, 32 x 32 tokens, bfloat16", sequence, conv, at::kBFloat16});
  }
  std::vector<Case> cases;
  for (const Setup& setup : setups) {
    // Two products of 2 d FLOP a pair; backward five more.
    const double work =
        pairs(setup) * 2.0 * static_cast<double>(setup.shape.width) * (setup.backward ? 7 : 2);
    cases.push_back({"attention", setup.name, cuda ? Ceiling::kTensor : Ceiling::kFma, work,
                     [setup, device] { return prepare(setup, device); }});
  }
  return cases;
}

}  // namespace lexel::bench
