#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace lexel::train {

/// The places of each picture that a step learns from, for steps that cost a share of a whole one. Most of a composed picture is
/// background, of a few codes; a place is drawn with a chance that falls with how often its code stands in its picture, so that
/// each code of a picture counts the same.
///
/// tokens   (B, N) int64
/// count    places of a picture, 1..N
/// first    number of the first row's sample: its places depend on the seed, its own number and its tokens only
/// returns  (B, count) int64, ascending in each row
/// source   weighted draws without replacement: Efraimidis and Spirakis 2006, doi:10.1016/j.ipl.2005.11.003
at::Tensor chosen_places(const at::Tensor& tokens, int64_t count, uint64_t seed, int64_t first);

}  // namespace lexel::train
