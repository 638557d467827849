#pragma once

#include <cstdint>

#include "autoregressive/packed_model.h"
#include "autoregressive/parallel/mesh.h"

namespace lexel::parallel {

/// ar::pack of this rank's share of the model on the axis "tensor", for ar::generate, which all ranks of the axis call alike.
/// Every matrix is shared out by its rows (qkv, q and kv by head), caches by head; tables, norms and positions are whole. A
/// rank then sums each of its outputs over all inputs in the order that one device has, and the parts are gathered: pictures
/// are the same bits on any number of ranks, with any format of weights and caches. (Sums cut by inputs and all-reduced, as in
/// training, take as many steps of a ring, but round otherwise.) Shares differ by one head, or one row, where they do not
/// divide.
///
/// model    the whole; what is not this rank's is released
/// throws   as ar::pack; Error(kUsage) naming the axis where a rank would have no head, hidden unit or code
ar::PackedModel pack_share(ar::Model model, kernels::WeightFormat format, Mesh& mesh);

/// Bytes that a rank sends by all-gathers for one token of `rows` rows, a decoder's step.
int64_t step_bytes(const ar::Config& config, int64_t rows, int64_t ranks);

}  // namespace lexel::parallel
