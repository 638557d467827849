#pragma once

#include <cstdint>

#include "autoregressive/model.h"
#include "tokenizers/text_tokenizer.h"

namespace lexel::train {

/// The most pieces of a run. A word that no training caption has is cut into letters: about so many.
inline constexpr int64_t kMostStrayPieces = 6;

/// Captions as if worded by someone else: in a share of them a run of 1 to kMostStrayPieces random pieces is put between two
/// pieces, or in the place of one. The grammar of captions has few words; one that training never saw is noise to the text
/// encoder, which learns here to pass over what says nothing and to read thing, place and colour from what is left.
///
/// condition  text (B, T) int64 and lengths (B) int64 on the CPU, as encode_captions makes them
/// share      of the captions, 0..1; those that are empty (unconditional) stay as they are
/// first      number of the first caption's sample: its noise depends on the seed and its own number only
/// returns    the same shapes; a caption that grows too long loses its tail; `condition` itself without text or share
/// source     ours
ar::Condition noisy_captions(const ar::Condition& condition, const TextTokenizer& text,
                             double share, uint64_t seed, int64_t first);

}  // namespace lexel::train
