#pragma once

#include "apps/data/compose/options.h"

namespace lexel::data {

/// `lexel data compose`: scenes as a WebDataset tar, KEY.png and KEY.json with caption, truth, number, seed,
/// split and the composer's fingerprint; and a sheet of the first ones with their captions, to look at.
///
/// throws   Error(kUsage) an option; what Composer throws; Error(kIo)
void run_data_compose(const ComposeOptions& options);

}  // namespace lexel::data
