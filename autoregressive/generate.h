#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <string>

#include "autoregressive/decode.h"

namespace lexel::ar {

/// How tokens are drawn. A picture's tokens depend on its condition, its number, the seed and these values only: not on the batch,
/// not on where a run was interrupted.
struct GenerateOptions {
  double guidance = 1.0;  // 1: none; Parti: 1.2. Scale of conditional - unconditional logits
  std::string schedule =
      "constant";  // of the guidance over the tokens: "constant", or "cosine" (from 1 up to `guidance`)
  double temperature = 1.0;  // 0: the likeliest token
  int64_t top_k = 0;         // 0: all
  double top_p = 1.0;
  uint64_t seed = 0;
  at::ScalarType cache = at::kBFloat16;  // keys and values: kFloat, kBFloat16 or kChar
};

/// throws   Error(kUsage) naming the value that cannot be
void validate(const GenerateOptions& options, int64_t codebook_size);

/// Guidance of the token at `position` of `tokens`: the same for all, or 1 + (guidance - 1) (1 - cos(pi t)) / 2 with t from 0
/// at the first token to 1 at the last.
double guidance_at(const GenerateOptions& options, int64_t position, int64_t tokens);

struct Generated {
  at::Tensor tokens;  // (B, N) int64, on the model's device; -1 where the callback stopped before
  at::Tensor
      log_probabilities;  // (B, N) float32: ln of what each token was drawn with; 0 where it was given
};

/// What the pictures hold so far, called after each token of a group of pictures: `done` tokens of all B N stand, given ones
/// counted as their turn comes; (B, N), -1 where nothing stands yet. Returns false to stop.
using TokenCallback = std::function<bool(int64_t done, const at::Tensor& tokens)>;

/// Draws B pictures, in groups that fit the decoder and memory (with guidance a picture takes two rows).
///
/// model          with several ranks all call with the same arguments, and draw the tokens of one rank, bit for bit; their callbacks
///                say the same
/// condition      B rows
/// unconditional  1 row, for guidance (the empty caption or "no class"); ignored where guidance is 1
/// pictures       (B) int64 >= 0: number of each picture, for its random stream
/// given          (B, N) int64: tokens that are kept, -1 where one is to be drawn; undefined: all are drawn. An edit keeps what is
///                outside its mask, a continuation the first rows. Given what a stopped run had drawn, the rest is what that run
///                would have drawn, bit for bit
/// throws         Error(kUsage) on values or shapes that cannot be; Error(kBadData) naming the token and picture whose logits
///                are not finite (found at the end of its row of tokens, before the callback); what Decoder throws
/// source         Yu et al. 2022, arXiv:2206.10789, section 2.4
Generated generate(const PackedModel& model, const Condition& condition,
                   const Condition& unconditional, const at::Tensor& pictures,
                   const GenerateOptions& options, const at::Tensor& given = {},
                   const TokenCallback& callback = {});

}  // namespace lexel::ar
