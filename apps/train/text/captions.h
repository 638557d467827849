#pragma once

#include <string>
#include <vector>

namespace lexel::train {

/// Captions of files, in the order of the inputs:
///   .txt    every line that is not empty
///   .jsonl  the text "caption" of every line's object
///   .tar    the text "caption" of every sample's .json, in the order of the tar (composed scenes too)
/// A JSON without a caption is passed over.
///
/// throws   Error(kUsage) on another kind of file, or when there is no caption in all; Error(kIo);
///          Error(kBadData) on a line or member that is not JSON, naming it
std::vector<std::string> read_captions(const std::vector<std::string>& inputs);

}  // namespace lexel::train
