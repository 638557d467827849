#include "apps/data/compose/grammar.h"

#include <array>
#include <string_view>

#include "kernels/check.h"

namespace lexel::data {
namespace {

void replace(const std::string& slot, const std::string& by, std::string& text) {
  const size_t at = text.find(slot);
  if (at != std::string::npos) text.replace(at, slot.size(), by);
}

const char* size_word(Size size, bool synonyms) {
  switch (size) {
    case Size::kSmall:
      return synonyms ? "little " : "small ";
    case Size::kLarge:
      return synonyms ? "large " : "big ";
    case Size::kMedium:
      break;
  }
  return "";
}

const char* relation_words(Relation relation, bool synonyms) {
  switch (relation) {
    case Relation::kLeftOf:
      return synonyms ? "left of" : "to the left of";
    case Relation::kRightOf:
      return synonyms ? "right of" : "to the right of";
    case Relation::kAbove:
      return synonyms ? "over" : "above";
    case Relation::kBelow:
      return synonyms ? "under" : "below";
    case Relation::kNone:
      break;
  }
  return "beside";
}

// "a small red car", "three cats". Things of a group are alike.
std::string phrase(const Truth& truth, const Group& group, const Wording& wording) {
  const PlacedThing& thing = truth.things[group.first];
  std::string words;
  if (wording.size) words += size_word(thing.size, wording.synonyms);
  if (wording.colour && !thing.colour.empty()) words += thing.colour + " ";
  words += group.count == 1 ? thing.name : thing.plural;
  const int64_t count = static_cast<int64_t>(group.count);
  return std::string(count == 1 ? article(words) : number_word(count)) + " " + words;
}

std::string on_background(const Background& background) {
  if (background.kind == BackgroundKind::kPhoto) return " in front of a photo";
  const std::string kind = background.kind == BackgroundKind::kPlain ? "background" : "gradient";
  return std::string(" on ") + article(background.colour) + " " + background.colour + " " + kind;
}

}  // namespace

const std::vector<Sentence>& sentences(SceneKind kind) {
  static const std::array<std::vector<Sentence>, 4> table{{
      {{"single/bare", "{things}{on}", false},
       {"single/picture", "a picture of {things}{on}", false},
       {"single/drawing", "a drawing of {things}{on}", false},
       {"single/there is", "there is {things}{on}", false},
       {"single/picture with", "a picture with {things}{on}", true},
       {"single/see", "we can see {things}{on}", true}},
      {{"count/bare", "{things}{on}", false},
       {"count/picture", "a picture of {things}{on}", false},
       {"count/drawing", "a drawing of {things}{on}", false},
       {"count/there are", "there are {things}{on}", false},
       {"count/picture with", "a picture with {things}{on}", true},
       {"count/see", "we can see {things}{on}", true}},
      {{"relation/bare", "{first} {relation} {second}{on}", false},
       {"relation/picture", "a picture of {first} {relation} {second}{on}", false},
       {"relation/there is", "there is {first} {relation} {second}{on}", false},
       {"relation/inverse", "{relation} {second} there is {first}{on}", false},
       {"relation/picture with", "a picture with {first} {relation} {second}{on}", true},
       {"relation/see", "we can see {first} {relation} {second}{on}", true}},
      {{"several/bare", "{things}{on}", false},
       {"several/picture", "a picture of {things}{on}", false},
       {"several/together", "{things} together{on}", false},
       {"several/picture with", "a picture with {things}{on}", true},
       {"several/see", "we can see {things}{on}", true}},
  }};
  return table[static_cast<size_t>(kind)];
}

std::string caption_of(const Truth& truth, const Wording& wording) {
  const std::vector<Sentence>& known = sentences(truth.kind);
  check_arg(wording.sentence >= 0 && wording.sentence < static_cast<int64_t>(known.size()),
            "caption_of", "expected a sentence in [0, ", known.size(), "), got ", wording.sentence);
  std::string caption = known[static_cast<size_t>(wording.sentence)].pattern;
  const std::vector<Group> groups = groups_of(truth);
  check_arg(!groups.empty() && (truth.kind != SceneKind::kRelation || groups.size() == 2),
            "caption_of", "expected a scene with things, a relation with two, got ", groups.size());
  if (truth.kind == SceneKind::kRelation) {
    replace("{first}", phrase(truth, groups[0], wording), caption);
    replace("{relation}", relation_words(truth.relation, wording.synonyms), caption);
    replace("{second}", phrase(truth, groups[1], wording), caption);
  } else {
    std::string things;
    for (size_t i = 0; i < groups.size(); ++i) {
      if (i > 0) things += i + 1 == groups.size() ? " and " : ", ";
      things += phrase(truth, groups[i], wording);
    }
    replace("{things}", things, caption);
  }
  replace("{on}", wording.background ? on_background(truth.background) : "", caption);
  return caption;
}

const char* article(const std::string& word) {
  constexpr std::string_view kVowels = "aeiou";
  if (word.starts_with("uni") || word.starts_with("eu")) return "a";
  if (word.starts_with("hour")) return "an";
  return !word.empty() && kVowels.find(word[0]) != std::string_view::npos ? "an" : "a";
}

const char* number_word(int64_t count) {
  constexpr std::array<const char*, 5> kWords{"one", "two", "three", "four", "five"};
  check_arg(count >= 1 && count <= 5, "number_word", "expected 1 to 5, got ", count);
  return kWords[static_cast<size_t>(count - 1)];
}

}  // namespace lexel::data
