#pragma once

#include "apps/train/state_piece.h"
#include "autoregressive/parallel/annotations.h"
#include "autoregressive/parallel/mesh.h"
#include "kernels/parameters.h"

namespace lexel::train {

/// Where this rank's part of a parameter lies in the whole one. Of ranks that hold the same values the first along the axes "tensor" and
/// "expert" counts; those along "data" share its update.
///
/// whole    name and shape
/// throws   Error(kUsage) on a name that `sharding` does not have
PlaceOfTensor place_in_whole(const Parameter& whole, const parallel::Sharding& sharding,
                             const parallel::Mesh& mesh);

}  // namespace lexel::train
