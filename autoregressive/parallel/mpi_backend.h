#pragma once

#include <cstdint>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <vector>

#include "autoregressive/parallel/world.h"

namespace lexel::parallel {

/// A group of Open MPI's, for clusters whose fabric MPI knows: mpi_backend.cpp where the build has it (-DLEXEL_MPI=ON), no_mpi.cpp
/// where it has not. The first call starts MPI, whose ranks are the world's.
///
/// members  ranks of the world, the same list on all of them
/// rank     of this process among them
/// throws   Error(kUnsupported) in a build without MPI; Error(kUsage) where MPI's world is not `world`
c10::intrusive_ptr<c10d::Backend> mpi_backend(const World& world,
                                              const std::vector<int64_t>& members, int64_t rank);

}  // namespace lexel::parallel
