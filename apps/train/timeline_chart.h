#pragma once

#include <string>
#include <vector>

#include "autoregressive/parallel/trace.h"

namespace lexel::train {

/// A timeline as an SVG picture: rows are ranks and what they send, one colour a category, micro-batches by number; what lies at
/// once in one lane lies in rows of its own. Names and times show under the mouse.
std::string timeline_chart(const std::vector<parallel::TraceEvent>& events);

}  // namespace lexel::train
