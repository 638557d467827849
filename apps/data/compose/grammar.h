#pragma once

#include <string>
#include <vector>

#include "apps/data/compose/scene.h"

namespace lexel::data {

/// A way to tell a scene of one kind. Slots: {things} what is there ("a small red cat", "two dogs", "a cat and
/// two dogs"; in a relation "a cat to the left of a tree"), {on} the background or nothing.
struct Sentence {
  const char* id;       // "single/there is"
  const char* pattern;  // "there is {things}{on}"
  bool held_out;        // never in a training caption
};

/// The sentences for a kind of scene; Wording::sentence is an index into them.
const std::vector<Sentence>& sentences(SceneKind kind);

/// The caption in lower case without a full stop: "a picture of two small cats on a blue background".
///
/// truth     as the composer made it; its own wording is not looked at
/// throws    Error(kUsage) when the wording's sentence is not one of the kind's
std::string caption_of(const Truth& truth, const Wording& wording);

/// "a" or "an", by the sound that a word starts with.
const char* article(const std::string& word);

/// "one" ... "five".
/// throws    Error(kUsage) outside 1 .. 5
const char* number_word(int64_t count);

}  // namespace lexel::data
