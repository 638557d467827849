#pragma once

#include <string>
#include <vector>

namespace lexel::data {

/// What the caption of a picture is made from.
enum class Caption {
  kNone,
  kFileName,     // "polar-bear_2.png": "polar bear"
  kSidecar,      // first line of the .txt of the same name
  kOpenclipart,  // title and keywords of the SVG of the same name
  kCodePoints,   // the name of the emoji in CLDR
};

/// Pictures that are variants of one another go to one side of the split. What they share:
enum class Family {
  kFile,       // nothing: each is alone
  kFirstWord,  // the first word of the file name: cat1-a, cat2
  kWallpaper,  // the folder above contents/images: sizes and day and night of one wallpaper
  kCodePoint,  // the first code point of an emoji: skin tones
};

/// Members of a package that match `pattern`. The first rule that matches decides.
struct Rule {
  std::string package;
  std::string pattern;  // fnmatch(3) on the path below the package's root; "*" also matches "/"
  std::string kind;     // "photo", "art", "clip art", "emoji"; empty: the member is left out
  Caption caption = Caption::kNone;
  Family family = Family::kFile;
  bool largest_only = false;  // of the pictures in one folder (the same wallpaper in many sizes)
};

struct DataSet {
  std::string name;
  std::string about;      // one line for `lexel data list`
  std::string licence;    // of the pictures, as the packages state it
  bool held_out = false;  // wholly: never trained on
  std::vector<std::string>
      packages;  // Debian's; more than the rules name where captions come from another
  std::vector<Rule> rules;
};

/// Every set that `lexel data fetch` packs into tars (Fashion-MNIST and the perceptual net are handled apart).
const std::vector<DataSet>& data_sets();

}  // namespace lexel::data
