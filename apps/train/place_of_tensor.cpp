#include "apps/train/place_of_tensor.h"

namespace lexel::train {

PlaceOfTensor place_in_whole(const Parameter& whole, const parallel::Sharding& sharding,
                             const parallel::Mesh& mesh) {
  const parallel::Placement& placement = sharding.weight(whole.name);
  PlaceOfTensor place{whole.shape, {}, true, ""};
  for (const char* const axis : {"tensor", "expert"})
    if (placement.axis != axis && mesh.coordinate(axis) != 0) place.counts = false;
  if (!placement.split) return place;
  const int64_t ranks = mesh.shape().length(placement.axis);
  if (ranks == 1) return place;
  // The same part of each of the matrices that lie behind each other.
  const int64_t matrices = placement.dim == 0 ? sharding.stacks.at(whole.name) : 1;
  const int64_t rows = whole.shape[size_t(placement.dim)] / matrices, own = rows / ranks;
  place.axis = placement.axis;
  place.part.dim = placement.dim;
  for (int64_t m = 0; m < matrices; ++m)
    place.part.ranges.emplace_back(m * rows + mesh.coordinate(placement.axis) * own, own);
  return place;
}

}  // namespace lexel::train
