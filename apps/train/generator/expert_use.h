#pragma once

#include <ATen/core/Tensor.h>
#include <vector>

#include "autoregressive/parallel/group.h"
#include "autoregressive/transformer.h"

namespace lexel::train {

/// How evenly each pass of a step used its experts, as ar::use_entropy of a record of all layers says it; each stage of a pipeline has
/// recorded its own. All ranks of the group call it.
///
/// records  one a pass, with as many layers each; of no layer on a stage that has none with experts
/// stages   the axis "pipeline"
/// returns  (passes) float64, on `device`, which the group takes
/// throws   Error(kUsage) where no stage has a layer
at::Tensor use_entropies(const std::vector<ar::ExpertRecord>& records, parallel::Group& stages,
                         at::Device device);

}  // namespace lexel::train
