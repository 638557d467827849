#include "spae/semantic_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <algorithm>

#include "kernels/check.h"

namespace lexel::spae {
namespace {

constexpr float kOtherScore = 0.95F;  // of true words that are no names

/// (K) log-probabilities of each query's words.
at::Tensor log_words(const at::Tensor& queries, const at::Tensor& codes, double scale) {
  return at::log_softmax(at::matmul(queries, codes.detach().t()) * scale, -1);
}

}  // namespace

WordTargets word_targets(const at::Tensor& scores, const std::vector<KnownWords>& captions,
                         int64_t count) {
  const char* const name = "word_targets";
  check_arg(scores.dim() == 2 && scores.scalar_type() == at::kFloat && scores.size(1) >= 1, name,
            "expected (B, K) float32 scores, got ", scores.scalar_type(), " of shape ",
            scores.sizes());
  check_arg(count >= 1 && count <= scores.size(1), name, "expected a count of 1 to ",
            scores.size(1), ", got ", count);
  check_arg(captions.empty() || static_cast<int64_t>(captions.size()) == scores.size(0), name,
            "expected words of ", scores.size(0), " pictures, got ", captions.size());
  const at::NoGradGuard no_grad;
  const at::Tensor low = scores.amin(1, /*keepdim=*/true), high = scores.amax(1, /*keepdim=*/true);
  const at::Tensor scaled =
      ((scores - low) / (high - low).clamp_min(1e-12)).cpu().contiguous();  // (B, K)
  // True words are lifted above all others, in their order, to be found first.
  at::Tensor order = scaled.clone();
  const int64_t words = scores.size(1);
  for (size_t b = 0; b < captions.size(); ++b) {
    float* const row = order.mutable_data_ptr<float>() + static_cast<int64_t>(b) * words;
    float* const worth = scaled.mutable_data_ptr<float>() + static_cast<int64_t>(b) * words;
    float lift = 4.0F;
    const auto put_first = [&](const std::vector<int64_t>& ids, float score) {
      for (const int64_t id : ids) {
        check_arg(id >= 0 && id < words, name, "expected words below ", words, ", got ", id);
        if (row[id] > 1.0F) continue;
        row[id] = lift;
        worth[id] = score;
        lift = std::max(lift - 0.01F, 1.5F);
      }
    };
    put_first(captions[b].names, 1.0F);
    put_first(captions[b].others, kOtherScore);
  }
  const at::Tensor ids = std::get<1>(order.topk(count, 1));
  // Scores fall even where the guide likes a word of its own better than a true one.
  at::Tensor values = scaled.gather(1, ids);
  float* const value = values.mutable_data_ptr<float>();
  for (int64_t b = 0; b < values.size(0); ++b) {
    for (int64_t r = 1; r < count; ++r)
      value[b * count + r] = std::min(value[b * count + r], value[b * count + r - 1]);
  }
  return {ids.to(scores.device()), values.to(scores.device())};
}

at::Tensor draw_targets(const WordTargets& targets, const Pyramid& pyramid, int64_t layer,
                        int64_t ranked_layers, double pool, Philox& random) {
  check_arg(layer >= 0 && layer < pyramid.layers(), "draw_targets", "expected a layer of 0 to ",
            pyramid.layers() - 1, ", got ", layer);
  check_arg(targets.ids.dim() == 2 && targets.ids.scalar_type() == at::kLong &&
                targets.scores.sizes() == targets.ids.sizes() &&
                targets.scores.scalar_type() == at::kFloat,
            "draw_targets", "expected (B, R) int64 ids and float32 scores, got ",
            targets.ids.scalar_type(), " of shape ", targets.ids.sizes(), " and ",
            targets.scores.scalar_type(), " of shape ", targets.scores.sizes());
  const at::Tensor ids = targets.ids.cpu().contiguous(), scores = targets.scores.cpu().contiguous();
  const int64_t batch = ids.size(0), known = ids.size(1);
  const int64_t first = pyramid.tokens(layer), tokens = pyramid.tokens(layer + 1) - first;
  const int64_t* const id = ids.const_data_ptr<int64_t>();
  const float* const score = scores.const_data_ptr<float>();
  at::Tensor drawn = at::empty({batch, tokens}, at::kLong);
  int64_t* out = drawn.mutable_data_ptr<int64_t>();
  for (int64_t b = 0; b < batch; ++b) {
    int64_t pooled = 1;  // the best word always counts
    while (pooled < known && score[b * known + pooled] >= static_cast<float>(pool)) ++pooled;
    for (int64_t j = 0; j < tokens; ++j) {
      const int64_t rank = layer < ranked_layers
                               ? (first + j) % known
                               : static_cast<int64_t>(random.uniform_int(uint64_t(pooled)));
      *out++ = id[b * known + rank];
    }
  }
  return drawn.to(targets.ids.device());
}

at::Tensor word_cross_entropy(const at::Tensor& queries, const at::Tensor& codes,
                              const at::Tensor& targets, double scale) {
  check_arg(queries.dim() == 3 && targets.dim() == 2 && targets.size(0) == queries.size(0) &&
                targets.size(1) == queries.size(1),
            "word_cross_entropy", "expected (B, n, D) queries and (B, n) targets, got ",
            queries.sizes(), " and ", targets.sizes());
  return log_words(queries, codes, scale).gather(2, targets.unsqueeze(2)).mean().neg();
}

at::Tensor entropy_term(const at::Tensor& queries, const at::Tensor& codes, double scale) {
  check_arg(queries.dim() == 2 && queries.size(0) >= 1, "entropy_term",
            "expected (M, D) queries, got ", queries.sizes());
  const at::Tensor logs = log_words(queries, codes, scale);  // (M, K)
  const at::Tensor shares = logs.exp();
  const at::Tensor each = (shares * logs).sum(1).mean().neg();
  const at::Tensor mean = shares.mean(at::IntArrayRef{0});  // (K)
  return each + (mean * mean.clamp_min(1e-12).log()).sum();
}

at::Tensor layer_commitment(const Pyramid& pyramid, const at::Tensor& latents,
                            const std::vector<LayerChoice>& choices) {
  check_arg(!choices.empty(), "layer_commitment", "expected choices, got none");
  std::vector<at::Tensor> layers;
  for (size_t l = 0; l < choices.size(); ++l) {
    const std::vector<int64_t> visits = pyramid.visits(static_cast<int64_t>(l) + 1);
    std::vector<int64_t> visited;
    for (size_t p = 0; p < visits.size(); ++p)
      if (visits[p] > 0) visited.push_back(static_cast<int64_t>(p));
    at::Tensor distance = (latents - choices[l].result.detach()).square().sum(2);  // (B, P)
    if (visited.size() < visits.size())
      distance = distance.index_select(1, at::tensor(visited, at::kLong).to(latents.device()));
    layers.push_back(distance.mean());
  }
  return at::stack(layers).mean();
}

at::Tensor lecam_loss(const at::Tensor& real_scores, const at::Tensor& fake_scores,
                      const at::Tensor& mean_real, const at::Tensor& mean_fake) {
  return at::relu(real_scores - mean_fake).square().mean() +
         at::relu(mean_real - fake_scores).square().mean();
}

}  // namespace lexel::spae
