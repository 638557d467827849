#include "kernels/decode_attention.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <memory>

#include "apps/bench/case.h"
#include "kernels/check.h"
#include "kernels/key_runs.h"

namespace lexel::bench {
namespace {

using kernels::AttentionMask;
using kernels::KvCache;

struct Setup {
  std::string name;
  int64_t layers;  // calls, each with a cache of its own
  int64_t batch, heads, context, width;
  at::ScalarType type;  // of the cache
  AttentionMask mask;
};

struct Inputs {
  at::Tensor q;  // (B, H, d)
  KvCache cache;
  at::Tensor lengths;
  // For the peers, as float32 and bfloat16: (B, H, 1, d), (B, H, T, d); and which keys are seen, (1, 1, 1, T), (seen).
  at::Tensor queries[2], keys[2], values[2], sees, seen;
};

int64_t keys_seen(const Setup& setup) {
  int64_t count = 0;
  for (int64_t i = 0; i < kernels::num_key_runs(setup.mask); ++i) {
    const kernels::KeyRun run = kernels::key_run(setup.mask, setup.context, i);
    count += run.end - run.begin;
  }
  return count;
}

Inputs make_inputs(const Setup& setup, at::Device device) {
  const bool is_int8 = setup.type == at::kChar;
  Inputs inputs;
  inputs.q = at::randn({setup.batch, setup.heads, setup.width}, at::kFloat).to(device);
  inputs.lengths = at::full({setup.batch}, setup.context, at::kLong).to(device);
  inputs.cache = kernels::make_kv_cache(setup.batch, setup.heads, setup.context, setup.width,
                                        setup.type, device);
  KvCache& cache = inputs.cache;
  for (at::Tensor* const x : {&cache.keys, &cache.values}) {
    x->copy_(is_int8 ? at::randint(-127, 128, x->sizes(), at::kFloat)
                     : at::randn(x->sizes(), at::kFloat));
  }
  if (is_int8) {
    cache.key_scales.fill_(1.0 / 64);
    cache.value_scales.fill_(1.0 / 64);
  }
  const at::ScalarType types[] = {at::kFloat, at::kBFloat16};
  for (int i = 0; i < 2; ++i) {
    inputs.queries[i] = inputs.q.to(types[i]).unsqueeze(2);
    inputs.keys[i] = cache.keys.to(types[i]).mul(is_int8 ? 1.0 / 64 : 1.0);
    inputs.values[i] = cache.values.to(types[i]).mul(is_int8 ? 1.0 / 64 : 1.0);
  }
  if (keys_seen(setup) < setup.context) {
    const at::Tensor sees = at::empty({setup.context}, at::kBool);
    for (int64_t key = 0; key < setup.context; ++key) {
      sees.mutable_data_ptr<bool>()[key] = setup.mask.allows(setup.context - 1, key);
    }
    inputs.sees = sees.view({1, 1, 1, setup.context}).to(device);
    inputs.seen = sees.nonzero().flatten().to(device);
  }
  return inputs;
}

std::string compare(const Setup& setup, const Inputs& inputs) {
  const at::Tensor got =
      kernels::decode_attention(inputs.q, inputs.cache, inputs.lengths, setup.mask);
  const at::Tensor wanted =
      kernels::decode_attention_reference(inputs.q, inputs.cache, inputs.lengths, setup.mask);
  const double difference = got.sub(wanted).abs().max().item<double>();
  check(difference <= 2e-5, ErrorKind::kInternal, "decode_attention: ", setup.name, ": off by ",
        difference);
  return concat("off float64 by ", difference);
}

Runs prepare(const Setup& setup, at::Device device) {
  const at::NoGradGuard no_grad;
  const auto layers = std::make_shared<std::vector<Inputs>>();
  for (int64_t i = 0; i < setup.layers; ++i) layers->push_back(make_inputs(setup, device));
  const auto each = [layers](const auto& run) {
    return [layers, run] {
      const at::NoGradGuard no_gradients;
      for (const Inputs& inputs : *layers) run(inputs);
    };
  };
  Runs runs;
  runs.check = [setup, layers] { return compare(setup, layers->front()); };
  runs.ours = {"decode_attention", each([mask = setup.mask](const Inputs& in) {
                 kernels::decode_attention(in.q, in.cache, in.lengths, mask);
               })};
  const char* const types[] = {"float32", "bfloat16"};
  const auto sdpa = [](const Inputs& in, int i) {
    const c10::optional<at::Tensor> sees =
        in.sees.defined() ? c10::make_optional(in.sees) : c10::nullopt;
    at::scaled_dot_product_attention(in.queries[i], in.keys[i], in.values[i], sees);
  };
  for (int i = 0; i < 2; ++i) {
    runs.peers.push_back(
        {concat("LibTorch SDPA, ", types[i]), each([sdpa, i](const Inputs& in) { sdpa(in, i); })});
  }
  if (layers->front().seen.defined()) {
    runs.peers.push_back({"LibTorch index_select, SDPA, float32", each([](const Inputs& in) {
                            at::scaled_dot_product_attention(in.queries[0],
                                                             in.keys[0].index_select(2, in.seen),
                                                             in.values[0].index_select(2, in.seen));
                          })});
  } else if (device.is_cuda()) {
    // Which of its kernels SDPA takes changes with its release: each by itself.
    for (const bool cudnn : {false, true}) {
      runs.peers.push_back(
          {cudnn ? "LibTorch SDPA, cuDNN, bfloat16" : "LibTorch SDPA, flash, bfloat16",
           each([sdpa, cudnn](const Inputs& in) {
             at::Context& context = at::globalContext();
             const bool flash_before = context.userEnabledFlashSDP();
             const bool cudnn_before = context.userEnabledCuDNNSDP();
             context.setSDPUseFlash(!cudnn);
             context.setSDPUseCuDNN(cudnn);
             sdpa(in, 1);
             context.setSDPUseFlash(flash_before);
             context.setSDPUseCuDNN(cudnn_before);
           })});
    }
  }
  return runs;
}

}  // namespace

std::vector<Case> decode_attention_cases(at::Device device) {
  const AttentionMask full, conv = AttentionMask::conv(32, 11);
  // CPU: a step of twelve layers, since one alone is over before cold code has been read. CUDA: one, as published.
  const int64_t layers = device.is_cpu() ? 12 : 1;
  std::vector<Setup> setups{
      {"b2 h16 d64, 1024 keys, bfloat16", layers, 2, 16, 1024, 64, at::kBFloat16, full},
      {"b2 h16 d64, 1024 keys, int8", layers, 2, 16, 1024, 64, at::kChar, full},
      {"b2 h16 d64, 1024 keys, float32", layers, 2, 16, 1024, 64, at::kFloat, full},
      {"b2 h16 d64, conv 11 x 11 of 1024 keys, bfloat16", layers, 2, 16, 1024, 64, at::kBFloat16,
       conv},
      {"b2 h16 d64, 128 keys (cross), bfloat16", layers, 2, 16, 128, 64, at::kBFloat16, full},
      {"b1 h4 d128, 8192 keys, bfloat16", layers, 1, 4, 8192, 128, at::kBFloat16, full},
  };
  if (layers > 1) {
    for (Setup& setup : setups) setup.name += concat(", ", layers, " layers");
  }
  std::vector<Case> cases;
  for (const Setup& setup : setups) {
    const int64_t bytes = setup.type == at::kFloat      ? 4 * setup.width
                          : setup.type == at::kBFloat16 ? 2 * setup.width
                                                        : setup.width + 4;
    const auto work = static_cast<double>(2 * setup.layers * setup.batch * setup.heads *
                                          keys_seen(setup) * bytes);
    cases.push_back({"decode_attention", setup.name, Ceiling::kRead, work,
                     [setup, device] { return prepare(setup, device); }});
  }
  return cases;
}

}  // namespace lexel::bench
