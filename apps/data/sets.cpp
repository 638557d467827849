#include "apps/data/sets.h"

namespace lexel::data {
namespace {

// "photo" and "art" were told apart by eye, on a contact sheet of all wallpapers.
DataSet wallpapers() {
  const std::string plasma = "plasma-workspace-wallpapers", mate = "mate-backgrounds",
                    lxqt = "lxqt-themes";
  DataSet set{.name = "wallpapers",
              .about = "desktop wallpapers: landscapes, plants, renders",
              .licence =
                  "GPL-2+, LGPL-2.1+, LGPL-3, CC-BY-4.0, CC-BY-SA-3.0, CC-BY-SA-4.0, CC0-1.0 (per "
                  "picture: /usr/share/doc/PACKAGE/copyright)",
              .packages = {plasma, mate, "lomiri-wallpapers-16.04", lxqt},
              .rules = {}};
  for (const char* photo :
       {"Autumn", "BytheWater", "ColdRipple", "ColorfulCups", "DarkestHour", "EveningGlow",
        "FallenLeaf", "Grey", "Kite", "OneStandsOut", "Path", "summer_1am"}) {
    set.rules.push_back({plasma,
                         std::string("usr/share/wallpapers/") + photo + "/contents/images/*",
                         "photo", Caption::kNone, Family::kWallpaper, true});
  }
  set.rules.push_back({plasma, "usr/share/wallpapers/*/contents/images*/*", "art", Caption::kNone,
                       Family::kWallpaper, true});
  set.rules.push_back({mate, "usr/share/backgrounds/mate/nature/*", "photo", Caption::kFileName});
  for (const char* overlay :  // drawings on nothing, white on white once blended
       {"Arc-Colors-*", "Flow.png", "Gulp.png", "MATE-Stripes-Light.png", "Silk.png", "Spring.png",
        "Waves.png"}) {
    set.rules.push_back({mate, std::string("*/") + overlay, ""});
  }
  set.rules.push_back({mate, "*_[0-9]*x[0-9]*.jpg", ""});
  set.rules.push_back(
      {mate, "usr/share/backgrounds/mate/*", "art", Caption::kNone, Family::kFirstWord});
  set.rules.push_back({"lomiri-wallpapers-16.04", "*/umang_*", "art"});
  set.rules.push_back({"lomiri-wallpapers-16.04", "*/analogpattern_*", "art"});
  set.rules.push_back({"lomiri-wallpapers-16.04", "usr/share/backgrounds/*", "photo"});
  for (const char* photo :
       {"Butterfly-*", "Valendas.*", "after-the-rain.*", "appleflower.*", "beam.*", "butterfly.*",
        "cloud.*", "drop.*", "flowers.*", "fog.*", "this-is-not-windows.*"}) {
    set.rules.push_back(
        {lxqt, std::string("usr/share/lxqt/wallpapers/") + photo, "photo", Caption::kFileName});
  }
  set.rules.push_back(
      {lxqt, "usr/share/lxqt/wallpapers/*", "art", Caption::kNone, Family::kFirstWord});
  return set;
}

DataSet wallpapers_heldout() {
  return {.name = "wallpapers-heldout",
          .about = "one large photo and three renders",
          .licence = "CC-BY-4.0, CC-BY-SA-4.0, CC0-1.0 (per picture: the package's copyright file)",
          .held_out = true,
          .packages = {"lomiri-wallpapers-20.04"},
          .rules = {{"lomiri-wallpapers-20.04", "*/Kleiber_*", "photo"},
                    {"lomiri-wallpapers-20.04", "usr/share/backgrounds/*", "art"}}};
}

DataSet scratch() {
  return {.name = "scratch",
          .about = "backdrop photos of 480 x 360 and cartoon figures",
          .licence = "CC-BY-SA-3.0",
          .packages = {"scratch"},
          .rules = {{"scratch", "usr/share/scratch/Media/Backgrounds/*", "photo",
                     Caption::kFileName, Family::kFirstWord},
                    {"scratch", "usr/share/scratch/Media/Costumes/Letters/*", ""},
                    {"scratch", "usr/share/scratch/Media/Costumes/*", "clip art",
                     Caption::kFileName, Family::kFirstWord}}};
}

DataSet stellarium() {
  return {.name = "stellarium",
          .about = "nebulae and galaxies through telescopes",
          .licence = "GPL-2+ (credits per picture: the package's copyright file)",
          .packages = {"stellarium-data"},
          .rules = {{"stellarium-data", "usr/share/stellarium/nebulae/default/*", "photo"}}};
}

DataSet tuxpaint_stamps() {
  return {.name = "tuxpaint-stamps",
          .about = "cut-outs and drawings, each with an English sentence",
          .licence = "GPL-2+ (the package's copyright file names other terms per picture)",
          .packages = {"tuxpaint-stamps-default"},
          .rules = {{"tuxpaint-stamps-default", "*/stamps/symbols/alphabets/*", ""},
                    {"tuxpaint-stamps-default", "usr/share/tuxpaint/stamps/*", "clip art",
                     Caption::kSidecar, Family::kFirstWord}}};
}

DataSet tuxpaint_data() {
  return {
      .name = "tuxpaint-data",
      .about = "photos to paint on",
      .licence = "GPL-2+",
      .packages = {"tuxpaint-data"},
      .rules = {{"tuxpaint-data", "usr/share/tuxpaint/templates/*", "photo", Caption::kFileName},
                {"tuxpaint-data", "usr/share/tuxpaint/starters/reef-back.png", "photo",
                 Caption::kFileName},
                {"tuxpaint-data", "usr/share/tuxpaint/starters/skyline-sf-dusk-back.jpeg", "photo",
                 Caption::kFileName}}};
}

DataSet openclipart() {
  return {.name = "openclipart",
          .about = "clip art with title and keywords",
          .licence = "public domain",
          .packages = {"openclipart-png", "openclipart-svg"},
          .rules = {{"openclipart-png", "*/shapes/stars/*", ""},  // 1,375 drawn by a program
                    {"openclipart-png", "usr/share/openclipart/png/*", "clip art",
                     Caption::kOpenclipart}}};
}

DataSet emoji() {
  const std::string root =
      "usr/share/rubygems-integration/all/gems/tanuki_emoji-*/app/assets/images/tanuki_emoji/";
  return {.name = "emoji",
          .about = "Noto's colour emoji with their names",
          .licence = "Apache-2.0 (Noto), Unicode-DFS-2016 (names)",
          .packages = {"ruby-tanuki-emoji", "unicode-cldr-core"},
          .rules = {{"ruby-tanuki-emoji", root + "*", "emoji", Caption::kCodePoints,
                     Family::kCodePoint}}};
}

DataSet gemojione() {
  return {.name = "gemojione",
          .about = "EmojiOne with their names",
          .licence = "CC-BY-SA-4.0 (EmojiOne), Unicode-DFS-2016 (names)",
          .packages = {"ruby-gemojione", "unicode-cldr-core"},
          .rules = {{"ruby-gemojione", "*/gemojione-*/assets/png/*", "emoji", Caption::kCodePoints,
                     Family::kCodePoint}}};
}

DataSet pysiogame() {
  return {.name = "pysiogame",
          .about = "art4apps cartoons, the file name is the word",
          .licence = "GPL-3+ by Debian's copyright file; upstream art4apps says CC-BY-SA-3.0",
          .packages = {"pysiogame"},
          .rules = {{"pysiogame", "*/res/images/art4apps/*", "clip art", Caption::kFileName,
                     Family::kFirstWord}}};
}

DataSet sklearn() {
  return {
      .name = "sklearn",
      .about = "two photos: a Chinese temple and a flower",
      .licence = "CC-BY (china: Pagoda, CC-BY-2.0; flower: CC-BY-2.0)",
      .packages = {"python3-sklearn"},
      .rules = {{"python3-sklearn", "*/sklearn/datasets/images/*", "photo", Caption::kFileName}}};
}

DataSet skimage() {
  DataSet set{
      .name = "skimage",
      .about = "scikit-image's photos and micrographs",
      .licence = "public domain, CC0-1.0 and others (per picture: skimage/data/_fetchers.py)",
      .held_out = true,
      .packages = {"python3-skimage"},
      .rules = {}};
  for (const char* photo :
       {"astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png",
        "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
        "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png"}) {
    set.rules.push_back(
        {"python3-skimage", std::string("*/skimage/data/") + photo, "photo", Caption::kFileName});
  }
  return set;
}

DataSet opencv_doc() {
  DataSet set{.name = "opencv-doc",
              .about = "OpenCV's example photos",
              .licence = "Apache-2.0 or BSD-3-Clause with OpenCV; not stated per picture",
              .held_out = true,
              .packages = {"opencv-doc"},
              .rules = {}};
  for (const char* photo :
       {"HappyFish", "aero1",        "aero3",        "aloeL",        "apple",
        "baboon",    "basketball1",  "board",        "box_in_scene", "building",
        "butterfly", "chicky_512",   "ela_original", "fruits",       "graf1",
        "home",      "leuvenA",      "messi5",       "orange",       "rubberwhale1",
        "smarties",  "squirrel_cls", "starry_night", "stuff"}) {
    set.rules.push_back({"opencv-doc", std::string("*/examples/data/") + photo + ".*", "photo",
                         Caption::kFileName});
  }
  return set;
}

}  // namespace

const std::vector<DataSet>& data_sets() {
  static const std::vector<DataSet> sets{
      wallpapers(),      wallpapers_heldout(), scratch(),     stellarium(),
      tuxpaint_stamps(), tuxpaint_data(),      openclipart(), emoji(),
      gemojione(),       pysiogame(),          sklearn(),     skimage(),
      opencv_doc()};
  return sets;
}

}  // namespace lexel::data
