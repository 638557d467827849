#pragma once

#include <iosfwd>

#include "apps/train/options.h"

namespace lexel::train {

/// Gathers what a run left in its folder as few files of limited size, to be carried away: model.safetensors (the
/// best so far where the run was stopped), samples.png, report.html, metrics.jsonl, run.log, a
/// generator's text.model, and the checkpoint in parts (`cat checkpoint.safetensors.part* > checkpoint.safetensors` joins them). A checkpoint that does
/// not fit as it is has its moments and averaged weights as bfloat16: the run that goes on from
/// it is then close to the uninterrupted one, not equal. One that does not fit even so stays behind.
///
/// log      gets one line a file with its size, and one for what was left out and why
/// throws   Error(kIo) no such run; Error(kBadData) a broken checkpoint; Error(kUsage)
void gather_results(const cli::TrainResultsOptions& options, std::ostream& log);

}  // namespace lexel::train
