#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizers/io/image.h"

namespace lexel::data {

enum class SceneKind { kSingle, kCount, kRelation, kSeveral };
enum class Size { kSmall, kMedium, kLarge };
enum class Relation { kNone, kLeftOf, kRightOf, kAbove, kBelow };
enum class BackgroundKind { kPlain, kGradient, kPhoto };
enum class Split { kTrain, kHeldOut };

/// Why a scene is held out: which of its parts no training scene has.
enum class HeldOut { kNone, kWording, kCount, kRelation };

/// A rectangle of whole pixels; (0, 0) is the top left corner.
struct PixelBox {
  int64_t left = 0, top = 0, width = 0, height = 0;
  bool operator==(const PixelBox&) const = default;
};

/// One thing in the picture.
struct PlacedThing {
  std::string name;     // singular: "cat", "fire engine"
  std::string plural;   // "cats"
  std::string drawing;  // whose drawing: "noto", "emojione"
  std::string colour;   // the one it is tinted with; empty: as drawn
  Size size = Size::kMedium;
  PixelBox box;  // of its visible pixels
  bool operator==(const PlacedThing&) const = default;
};

struct Background {
  BackgroundKind kind = BackgroundKind::kPlain;
  std::string colour;  // of a plain one, and of a gradient at its top; of a photo none
  std::string photo;   // name of the picture; else empty
  bool operator==(const Background&) const = default;
};

/// How a scene is told: which sentence, and which details are said. Details that a scene does not have (the
/// size of a middling thing, the colour of what is not tinted) are not said, whatever stands here.
struct Wording {
  int32_t sentence = 0;     // index into sentences(kind) of grammar.h
  bool size = false;        // "a small cat", "a big cat"
  bool colour = false;      // "a red car"
  bool background = false;  // "... on a blue background"
  bool synonyms =
      false;  // "little", "large", "over", "under", "left of" for small, big, above, below, to the left of
  bool operator==(const Wording&) const = default;
};

/// All there is to know of a scene. Things of one kind follow one another, first named first:
///   kSingle    one thing
///   kCount     2 to 5 of one thing, all alike
///   kRelation  two things; the first is `relation` the second
///   kSeveral   2 or 3 kinds of thing, 1 to 3 of each, 5 in all at most
struct Truth {
  SceneKind kind = SceneKind::kSingle;
  std::vector<PlacedThing> things = {};
  Relation relation = Relation::kNone;
  Background background = {};
  Wording wording = {};
  HeldOut held_out = HeldOut::kNone;
  bool operator==(const Truth&) const = default;
};

/// A composed picture with its caption and its truth.
struct Scene {
  Image picture;        // (canvas, canvas, 3) uint8
  std::string caption;  // caption_of(truth, truth.wording): always true to the picture
  Truth truth;
};

/// Things of one kind in a scene: the index of its first one and how many there are.
struct Group {
  size_t first = 0, count = 0;
};
std::vector<Group> groups_of(const Truth& truth);

/// One line of JSON with the fields above by their names; enums as name_of says, box as [left, top, width, height],
/// wording.sentence as its id ("single/there is").
std::string truth_to_json(const Truth& truth);

/// throws   Error(kBadData) naming the key that is missing, unknown or not of its type
Truth truth_from_json(const std::string& json);

/// "single", "left of", "small", "plain", "none" ...: the words used in JSON and captions.
const char* name_of(SceneKind kind);
const char* name_of(Size size);
const char* name_of(Relation relation);
const char* name_of(BackgroundKind kind);
const char* name_of(HeldOut reason);

}  // namespace lexel::data
