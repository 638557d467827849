#pragma once

#include <string>
#include <string_view>

namespace lexel {

/// Proves that bytes are a SentencePiece model which its library can load and run without reading past a
/// table, aborting or writing to stderr: a protobuf message of known fields with a unigram vocabulary,
/// byte fallback, no user-defined or unused pieces, finite scores, and a normaliser whose double array
/// stays inside of its bounds. The library itself checks none of the last.
///
/// name    what errors call the model
/// throws  Error(kBadData) saying what is wrong
/// source  sentencepiece_model.proto of SentencePiece 0.1.97; Darts-clone for the double array
void check_sentencepiece_model(std::string_view serialized, const std::string& name);

}  // namespace lexel
