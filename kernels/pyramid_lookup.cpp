#include "kernels/pyramid_lookup.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <cmath>

#include "kernels/check.h"
#include "kernels/codebook_lookup.h"

namespace lexel::kernels {
namespace {

using Layers = std::vector<std::vector<int64_t>>;

/// The places of one look-up, which every position has once at most.
struct Round {
  std::vector<int64_t> positions, tokens, layers;
};

void check_arguments(const at::Tensor& latents, const at::Tensor& codes, const Layers& layers) {
  const char* const name = "pyramid_lookup";
  check_arg(latents.defined() && latents.dim() == 3 && latents.scalar_type() == at::kFloat, name,
            "expected (B, P, D) float32 latents, got ",
            latents.defined() ? concat(latents.scalar_type(), " of shape ", latents.sizes())
                              : "an undefined tensor");
  check_arg(codes.defined() && codes.dim() == 2 && codes.scalar_type() == at::kFloat &&
                codes.size(1) == latents.size(2),
            name, "expected (K, ", latents.size(2), ") float32 codes, got ",
            codes.defined() ? concat(codes.scalar_type(), " of shape ", codes.sizes())
                            : "an undefined tensor");
  check_arg(latents.is_contiguous() && codes.is_contiguous(), name,
            "expected contiguous tensors, got strides ", latents.strides(), " and ",
            codes.strides());
  for (const std::vector<int64_t>& positions : layers) {
    std::vector<bool> taken(static_cast<size_t>(latents.size(1)), false);
    for (const int64_t position : positions) {
      check_arg(position >= 0 && position < latents.size(1), name, "expected positions in 0 to ",
                latents.size(1) - 1, ", got ", position);
      check_arg(!taken[static_cast<size_t>(position)], name,
                "expected positions once a layer, got ", position, " twice");
      taken[static_cast<size_t>(position)] = true;
    }
  }
}

int64_t tokens_of(const Layers& layers) {
  int64_t tokens = 0;
  for (const std::vector<int64_t>& positions : layers) {
    tokens += static_cast<int64_t>(positions.size());
  }
  return tokens;
}

/// Round n has the positions at their n-th visit.
std::vector<Round> rounds_of(const Layers& layers, std::vector<int64_t>& visits) {
  std::vector<Round> rounds;
  int64_t token = 0;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    for (const int64_t position : layers[layer]) {
      const auto visit = static_cast<size_t>(visits[static_cast<size_t>(position)]++);
      if (rounds.size() == visit) rounds.emplace_back();
      rounds[visit].positions.push_back(position);
      rounds[visit].tokens.push_back(token++);
      rounds[visit].layers.push_back(static_cast<int64_t>(layer));
    }
  }
  return rounds;
}

CodebookMatch nearest(const at::Tensor& rows, const at::Tensor& codes) {
  return codebook_lookup(rows, codes, CodeMetric::kCosine);
}

/// One round on the CPU: plain loops, because a round of one picture is a few microseconds of work.
void run_on_cpu(const Round& round, float times, const at::Tensor& latents, const at::Tensor& codes,
                PyramidMatch& match) {
  const int64_t batch = latents.size(0), positions = latents.size(1), width = latents.size(2);
  const auto places = static_cast<int64_t>(round.positions.size());
  const int64_t tokens = match.ids.size(1);
  const at::Tensor rows = at::empty({batch * places, width});
  const float* const z = latents.const_data_ptr<float>();
  const float* const code = codes.const_data_ptr<float>();
  float* const sum = match.sums.mutable_data_ptr<float>();
  float* const row = rows.mutable_data_ptr<float>();
  const int64_t grain =
      1 + (int64_t{1} << 14) / (places * width);  // pictures that are worth a thread
  at::parallel_for(0, batch, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first * places; i < last * places; ++i) {
      const int64_t at =
          (i / places * positions + round.positions[static_cast<size_t>(i % places)]) * width;
      for (int64_t d = 0; d < width; ++d) row[i * width + d] = times * z[at + d] - sum[at + d];
    }
  });
  const CodebookMatch found = nearest(rows, codes);
  const int64_t* const id = found.ids.const_data_ptr<int64_t>();
  const float* const score = found.score.const_data_ptr<float>();
  int64_t* const ids = match.ids.mutable_data_ptr<int64_t>();
  at::parallel_for(0, batch, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first * places; i < last * places; ++i) {
      const auto place = static_cast<size_t>(i % places);
      ids[i / places * tokens + round.tokens[place]] = id[i];
      float* const target = sum + (i / places * positions + round.positions[place]) * width;
      for (int64_t d = 0; d < width; ++d) target[d] += code[id[i] * width + d];
    }
  });
  if (!match.counts.defined()) return;
  int64_t* const counts = match.counts.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < batch * places; ++i) {
    if (std::isnan(score[i])) continue;
    ++counts[round.layers[static_cast<size_t>(i % places)] * codes.size(0) + id[i]];
  }
}

/// One round on another device: LibTorch gathers, the look-up is the device's kernel.
void run_on_device(const Round& round, double times, const at::Tensor& latents,
                   const at::Tensor& codes, PyramidMatch& match) {
  const auto on_device = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong).to(latents.device());
  };
  const int64_t batch = latents.size(0), K = codes.size(0);
  const at::Tensor positions = on_device(round.positions);
  const at::Tensor queries =
      latents.index_select(1, positions) * times - match.sums.index_select(1, positions);
  const CodebookMatch found = nearest(queries.flatten(0, 1).contiguous(), codes);
  match.ids.index_copy_(1, on_device(round.tokens), found.ids.reshape({batch, -1}));
  match.sums.index_add_(1, positions, codes.index_select(0, found.ids).reshape(queries.sizes()));
  if (!match.counts.defined()) return;
  const at::Tensor bins = (on_device(round.layers) * K + found.ids.reshape({batch, -1})).flatten();
  match.counts.add_(
      at::bincount(bins.masked_select(found.score.isnan().logical_not_()), {}, match.counts.numel())
          .reshape(match.counts.sizes()));
}

PyramidMatch empty_match(const at::Tensor& latents, const at::Tensor& codes, const Layers& layers,
                         bool count) {
  PyramidMatch match;
  const auto longs = latents.options().dtype(at::kLong);
  match.ids = at::empty({latents.size(0), tokens_of(layers)}, longs);
  match.sums = at::zeros(latents.sizes(), latents.options());
  match.visits = at::zeros({latents.size(1)}, at::kLong);
  if (count) {
    match.counts = at::zeros({static_cast<int64_t>(layers.size()), codes.size(0)}, longs);
  }
  return match;
}

}  // namespace

PyramidMatch pyramid_lookup(const at::Tensor& latents, const at::Tensor& codes,
                            const std::vector<std::vector<int64_t>>& layers,
                            const PyramidOptions& options) {
  check_arguments(latents, codes, layers);
  const at::NoGradGuard no_grad;
  PyramidMatch match = empty_match(latents, codes, layers, options.count);
  std::vector<int64_t> visits(static_cast<size_t>(latents.size(1)), 0);
  const std::vector<Round> rounds = rounds_of(layers, visits);
  match.visits = at::tensor(visits, at::kLong);
  for (size_t n = 0; n < rounds.size(); ++n) {
    const double times = options.streaming_average ? static_cast<double>(n + 1) : 1.0;
    if (latents.is_cpu()) {
      run_on_cpu(rounds[n], static_cast<float>(times), latents, codes, match);
    } else {
      run_on_device(rounds[n], times, latents, codes, match);
    }
  }
  return match;
}

PyramidMatch pyramid_lookup_reference(const at::Tensor& latents, const at::Tensor& codes,
                                      const std::vector<std::vector<int64_t>>& layers,
                                      const PyramidOptions& options) {
  check_arguments(latents, codes, layers);
  const at::NoGradGuard no_grad;
  PyramidMatch match = empty_match(latents, codes, layers, options.count);
  const at::Tensor z = latents.to(at::kDouble), words = codes.to(at::kDouble);
  at::Tensor sums = at::zeros_like(z);
  int64_t token = 0;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    for (const int64_t position : layers[layer]) {
      const double times =
          options.streaming_average ? match.visits[position].item<double>() + 1.0 : 1.0;
      const at::Tensor query = z.select(1, position) * times - sums.select(1, position);  // (B, D)
      const at::Tensor ids = at::matmul(query, words.t()).argmax(1);                      // (B)
      match.ids.select(1, token++).copy_(ids);
      sums.select(1, position).add_(words.index_select(0, ids));
      match.visits[position] += 1;
      if (options.count) {
        match.counts[static_cast<int64_t>(layer)] += at::bincount(ids, {}, codes.size(0));
      }
    }
  }
  match.sums.copy_(sums);
  return match;
}

}  // namespace lexel::kernels
