#include <algorithm>

#include "autoregressive/planner/prediction.h"

namespace lexel::planner {

using parallel::PipelineAction;
using parallel::Stack;

Replay replay(const parallel::PipelineSchedule& schedule, const ChunkTimes& times) {
  const auto stages = static_cast<size_t>(schedule.shape.stages);
  const auto chunks = static_cast<size_t>(schedule.chunks());
  const auto micro_batches = static_cast<size_t>(schedule.shape.micro_batches);
  Replay result;
  result.finish.assign(stages, 0);
  result.busy.assign(stages, 0);
  // Ends of forward and backward passes, by stack, chunk and micro-batch. Clocks are an order in which what is read comes first.
  std::vector<double> ends[2][2];
  const size_t counts[2] = {stages, chunks};
  for (int stack = 0; stack < 2; ++stack)
    for (auto& direction : ends[stack]) direction.assign(counts[stack] * micro_batches, 0);
  for (const PipelineAction& action : schedule.actions) {
    const bool encoder = action.stack == Stack::kEncoder;
    const auto chunk = static_cast<size_t>(action.chunk),
               m = static_cast<size_t>(action.micro_batch),
               stage = static_cast<size_t>(action.stage);
    auto* own = ends[encoder ? 0 : 1];
    const auto at = [m, micro_batches](size_t c) { return c * micro_batches + m; };
    const size_t last = encoder ? stages - 1 : chunks - 1;
    const double send = stages == 1 ? 0 : encoder ? times.encoder_send : times.decoder_send;
    double ready = 0;
    if (!action.backward && chunk > 0) ready = own[0][at(chunk - 1)] + send;
    if (!action.backward && chunk == 0 && !encoder && !times.encoder_forward.empty())
      ready = ends[0][0][at(stages - 1)] + (stages == 1 ? 0 : times.encoder_send);
    if (action.backward) ready = own[0][at(chunk)];
    if (action.backward && chunk < last) ready = std::max(ready, own[1][at(chunk + 1)] + send);
    if (action.backward && chunk == last && encoder)
      ready = std::max(ready, ends[1][1][at(0)] + (stages == 1 ? 0 : times.encoder_send));
    const auto& durations =
        encoder ? (action.backward ? times.encoder_backward : times.encoder_forward)
                : (action.backward ? times.decoder_backward : times.decoder_forward);
    const double end = std::max(ready, result.finish[stage]) + durations[chunk];
    own[action.backward ? 1 : 0][at(chunk)] = end;
    result.finish[stage] = end;
    result.busy[stage] += durations[chunk];
  }
  result.time = *std::ranges::max_element(result.finish);
  return result;
}

}  // namespace lexel::planner
