#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "vqgan/model.h"

namespace lexel::vqgan {

/// What keeps a codebook alive: a start from data, restarts of codes that nobody uses, averaged
/// codes.

struct KMeansOptions {
  int64_t clusters = 8192;
  int64_t rounds = 10;
  bool spherical = true;  // centres on the unit sphere, cosine look-up; false: plain L2
  bool plus_plus =
      false;  // k-means++ start (O(rows * clusters)); false: rows drawn without replacement
  uint64_t seed = 0;
};

struct KMeans {
  at::Tensor centres;  // (clusters, D) float32
  at::Tensor counts;   // (clusters) int64, rows of each centre in the last round
};

/// Lloyd's algorithm; an empty cluster moves to a row drawn at random. Deterministic given the seed.
///
/// rows     (M, D) float32, M >= clusters; on the unit sphere if spherical
/// throws   Error(kUsage) on fewer rows than clusters, another rank or dtype, rounds < 0
/// source   Lloyd 1982, doi:10.1109/TIT.1982.1056489; Arthur and Vassilvitskii 2007 (k-means++)
KMeans kmeans(const at::Tensor& rows, const KMeansOptions& options);

/// Sets the codebook to the k-means of the latents that the encoder gives for the images (in
/// blocks).
///
/// images   (B, 3, H, W) float32 in [0, 1], with at least K tokens together
void start_codebook_from_latents(Model& model, const at::Tensor& images, int64_t rounds,
                                 uint64_t seed);

/// The k-means start: PCA of raw patches as the linear path of encoder and decoder, and codes by
/// k-means of the latents of these patches. The transformer parts must still give zero (a fresh
/// model with linear_path does). An untrained model then reconstructs about as well as k-means of
/// raw patches.
///
/// patches  (M, 3 P P) float32 in [0, 1], in the order of to_patches; M >= K
/// returns  how many patches each code stands for, as KMeans::counts
/// throws   Error(kUsage) when the config has no linear path, or on too few patches or another
/// width
at::Tensor start_from_kmeans(Model& model, const at::Tensor& patches, int64_t rounds,
                             uint64_t seed);

/// How often each code was used, over a sliding window of about 1 / (1 - decay) observations.
struct CodebookUsage {
  at::Tensor counts;         // (K) float32, decayed
  at::Tensor unused_for;     // (K) int64, observations since the code was last chosen
  at::Tensor since_restart;  // (K) int64, observations since the code was last moved
  int64_t observations = 0;
  double decay = 0.99;

  CodebookUsage(int64_t codebook_size, at::Device device);
  void observe(const at::Tensor& ids);  // any shape, int64
  /// Share of codes chosen in the last `window` observations, 0..1.
  double usage(int64_t window) const;
  /// Exp of the entropy of the decayed counts, 1..K.
  double perplexity() const;
};

struct RestartOptions {
  int64_t unused_for = 100;  // observations without a single use make a code dead
  int64_t max_codes = 64;    // restarted at most, in one call
  uint64_t seed = 0;
};

/// Moves dead codes to latents drawn at random (the deadest first), and gives them a fresh window.
///
/// latents  (M, code_width) or (B, N, code_width) float32, current ones, normalised if the config says so
/// step     the training step, which picks the draw
/// returns  (n) int64, the ids that moved
/// source   Dhariwal et al. 2020, arXiv:2005.00341, section 3.1 (random restarts)
at::Tensor restart_dead_codes(Model& model, CodebookUsage& usage, const at::Tensor& latents,
                              int64_t step, const RestartOptions& options);

/// Codes as moving averages of the latents that chose them, instead of by gradient.
struct EmaCodes {
  at::Tensor counts;  // (K) float32
  at::Tensor sums;    // (K, code_width) float32
  double decay = 0.99;
  double smoothing = 1e-5;       // Laplace, so that a code without rows keeps a finite place
  double restart_weight = 0.25;  // counts of a code that was just restarted

  /// As if every code had been chosen `weight` times at its present place.
  EmaCodes(const Model& model, double weight);
  /// One update from a batch, written into the model's codebook.
  /// source   van den Oord et al. 2017, arXiv:1711.00937, appendix A.1
  void update(Model& model, const at::Tensor& latents, const at::Tensor& ids);
  /// Codes that restart_dead_codes moved begin anew from their place, with a small weight.
  void restarted(const Model& model, const at::Tensor& moved_ids);
};

}  // namespace lexel::vqgan
