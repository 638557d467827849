#include "spae/quantizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <algorithm>

#include "kernels/check.h"
#include "kernels/pyramid_lookup.h"

namespace lexel::spae {
namespace {

at::Tensor index_of(const std::vector<int64_t>& positions, at::Device device) {
  return at::tensor(positions, at::kLong).to(device);
}

void check_arguments(const Pyramid& pyramid, const at::Tensor& latents, const at::Tensor& codes,
                     int64_t layers, const char* function) {
  const int64_t positions = pyramid.grid() * pyramid.grid();
  check_arg(
      latents.dim() == 3 && latents.size(1) == positions && latents.scalar_type() == at::kFloat,
      function, "expected (B, ", positions, ", D) float32 latents, got ", latents.scalar_type(),
      " of shape ", latents.sizes());
  check_arg(
      codes.dim() == 2 && codes.scalar_type() == at::kFloat && codes.size(1) == latents.size(2),
      function, "expected (K, ", latents.size(2), ") float32 codes, got ", codes.scalar_type(),
      " of shape ", codes.sizes());
  check_arg(layers >= 1 && layers <= pyramid.layers(), function, "expected 1 to ", pyramid.layers(),
            " layers, got ", layers);
}

/// Choices so far: the sum of the words at each position, and how many they are (of the layers alone, so no tensor).
struct Running {
  at::Tensor sum;               // (B, P, D)
  std::vector<int64_t> visits;  // (P)
};

/// (n) how often the positions of a layer have been visited before, as float32.
at::Tensor visits_at(const Running& running, const std::vector<int64_t>& positions,
                     at::Device device) {
  std::vector<float> times;
  for (const int64_t position : positions) {
    times.push_back(static_cast<float>(running.visits[static_cast<size_t>(position)]));
  }
  return at::tensor(times).to(device).unsqueeze(1);  // (n, 1)
}

at::Tensor queries_of(QuantizerRule rule, const at::Tensor& latents, const at::Tensor& sum,
                      const at::Tensor& times) {
  return rule == QuantizerRule::kResidual ? latents - sum : latents * (times + 1) - sum;
}

/// Adds a layer's words to the sums.
void add_layer(Running& running, const at::Tensor& index, const std::vector<int64_t>& positions,
               const at::Tensor& words) {
  running.sum = running.sum.index_add(1, index, words);
  for (const int64_t position : positions) ++running.visits[static_cast<size_t>(position)];
}

at::Tensor result_of(QuantizerRule rule, const Running& running) {
  if (rule == QuantizerRule::kResidual) return running.sum;
  std::vector<float> divisors;
  for (const int64_t times : running.visits) {
    divisors.push_back(static_cast<float>(std::max<int64_t>(times, 1)));
  }
  return running.sum / at::tensor(divisors).to(running.sum.device()).unsqueeze(1);
}

Running nothing_yet(const Pyramid& pyramid, int64_t batch, const at::Tensor& codes) {
  const int64_t positions = pyramid.grid() * pyramid.grid();
  return {at::zeros({batch, positions, codes.size(1)}, codes.options()),
          std::vector<int64_t>(static_cast<size_t>(positions), 0)};
}

/// The words of the first `layers` layers, in one pass.
///
/// returns  (B, tokens) int64
at::Tensor choose(const Pyramid& pyramid, QuantizerRule rule, const at::Tensor& latents,
                  const at::Tensor& codes, int64_t layers) {
  kernels::PyramidOptions options;
  options.streaming_average = rule == QuantizerRule::kStreamingAverage;
  const auto first = pyramid.positions.begin();
  return kernels::pyramid_lookup(latents.detach().contiguous(), codes.contiguous(),
                                 {first, first + layers}, options)
      .ids;
}

}  // namespace

QuantizerRule quantizer_rule(const std::string& name) {
  check_arg(name == "saq" || name == "rq", "quantizer_rule", "expected saq or rq, got ", name);
  return name == "saq" ? QuantizerRule::kStreamingAverage : QuantizerRule::kResidual;
}

std::vector<LayerChoice> quantize(const Pyramid& pyramid, QuantizerRule rule,
                                  const at::Tensor& latents, const at::Tensor& codes,
                                  int64_t layers) {
  check_arguments(pyramid, latents, codes, layers, "spae::quantize");
  const at::Tensor words = codes.detach().contiguous();
  const at::Tensor ids = choose(pyramid, rule, latents, words, layers);
  std::vector<LayerChoice> choices;
  Running running = nothing_yet(pyramid, latents.size(0), words);
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::vector<int64_t>& positions = pyramid.positions[static_cast<size_t>(layer)];
    const at::Tensor index = index_of(positions, latents.device());
    LayerChoice choice;
    choice.queries =
        queries_of(rule, latents.index_select(1, index), running.sum.index_select(1, index),
                   visits_at(running, positions, latents.device()));
    choice.ids = ids.narrow(1, pyramid.tokens(layer), index.size(0));
    add_layer(running, index, positions, at::embedding(words, choice.ids));
    choice.result = result_of(rule, running);
    choices.push_back(std::move(choice));
  }
  return choices;
}

at::Tensor quantize_ids(const Pyramid& pyramid, QuantizerRule rule, const at::Tensor& latents,
                        const at::Tensor& codes, int64_t layers) {
  check_arguments(pyramid, latents, codes, layers, "spae::quantize_ids");
  return choose(pyramid, rule, latents, codes.detach(), layers);
}

at::Tensor ids_of(const std::vector<LayerChoice>& choices) {
  std::vector<at::Tensor> ids;
  for (const LayerChoice& choice : choices) ids.push_back(choice.ids);
  return at::cat(ids, 1);
}

at::Tensor result_of_ids(const Pyramid& pyramid, QuantizerRule rule, const at::Tensor& ids,
                         const at::Tensor& codes) {
  const at::NoGradGuard no_grad;
  const int64_t layers = pyramid.layers_of(ids.size(1));
  Running running = nothing_yet(pyramid, ids.size(0), codes);
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::vector<int64_t>& positions = pyramid.positions[static_cast<size_t>(layer)];
    const at::Tensor words = at::embedding(
        codes, ids.narrow(1, pyramid.tokens(layer), static_cast<int64_t>(positions.size())));
    add_layer(running, index_of(positions, codes.device()), positions, words);
  }
  return result_of(rule, running);
}

at::Tensor decoder_input(const Pyramid& pyramid, const at::Tensor& results,
                         const std::vector<int64_t>& layers, bool nearest) {
  const int64_t batch = results.size(0), positions = pyramid.grid() * pyramid.grid();
  check_arg(layers.size() == 1 || static_cast<int64_t>(layers.size()) == batch,
            "spae::decoder_input", "expected one number of layers or ", batch, ", got ",
            layers.size());
  std::vector<int64_t> visits, sources;
  for (const int64_t n : layers) {
    check_arg(n >= 1 && n <= pyramid.layers(), "spae::decoder_input", "expected 1 to ",
              pyramid.layers(), " layers, got ", n);
    for (const int64_t times : pyramid.visits(n)) visits.push_back(times);
    if (!nearest) continue;
    for (const int64_t source : pyramid.nearest_visited(n)) sources.push_back(source);
  }
  const auto rows = static_cast<int64_t>(layers.size());
  const auto by_picture = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong)
        .reshape({rows, positions})
        .expand({batch, positions})
        .to(results.device());
  };
  const at::Tensor times = by_picture(visits);  // (B, P)
  at::Tensor filled;                            // (B, P, D)
  if (nearest) {
    filled = results.gather(1, by_picture(sources).unsqueeze(2).expand_as(results));
  } else {
    filled = at::where(times.unsqueeze(2).gt(0), results, at::zeros({}, results.options()));
  }
  const at::Tensor marks = at::one_hot(times, mark_width(pyramid)).to(results.scalar_type());
  return at::cat({filled, marks}, 2);  // (B, P, D + M)
}

int64_t mark_width(const Pyramid& pyramid) {
  const std::vector<int64_t> visits = pyramid.visits(pyramid.layers());
  return 1 + *std::max_element(visits.begin(), visits.end());
}

}  // namespace lexel::spae
