#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace lexel::train {

/// How much of the tokens before each token a generator sees replaced while it learns. Neighbours alone predict most of a token,
/// and what the caption adds is a few nats a picture: without noise a small model learns to copy its neighbours and not to read.
struct TokenNoise {
  double most = 0.0;  // a picture has a share uniform in [0, most) of its tokens replaced
  double blind =
      0.0;  // share of pictures that have all of them replaced: caption and place are left
};

/// What the decoder is given in the place of `tokens`, which it still has to predict: some are uniformly random codes.
///
/// tokens   (B, N) int64
/// first    number of the first row's sample: its noise depends on the seed and its own number only
/// returns  (B, N) int64; `tokens` itself without noise
/// source   Esser et al. 2020, arXiv:2012.09841, whose code keeps a share of the tokens; the two shares are ours
at::Tensor noisy_tokens(const at::Tensor& tokens, int64_t codebook_size, const TokenNoise& noise,
                        uint64_t seed, int64_t first);

}  // namespace lexel::train
