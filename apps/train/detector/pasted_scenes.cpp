#include "apps/train/detector/pasted_scenes.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>

#include "apps/data/compose/backdrop.h"
#include "apps/data/compose/colours.h"
#include "apps/data/compose/paint.h"
#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::train {
namespace {

using data::BackgroundKind;
using data::PixelBox;
using data::ScaledSprite;

constexpr int64_t kSideStep = 4;                  // pixels
constexpr int kTries = 8;                         // for a place where a thing hides no other
constexpr uint8_t kOpaque = 128;                  // alpha from which a pixel hides what is below
constexpr double kPlain = 0.5, kGradient = 0.25;  // of the backgrounds; the rest are photos

template <class List>
const auto& any_of(const List& list, Philox& random) {
  return list[random.uniform_int(list.size())];
}

}  // namespace

void PasteConfig::validate() const {
  check_arg(canvas >= 16 && canvas <= 1024, "PasteConfig", "expected canvas in 16..1024, got ",
            canvas);
  check_arg(min_side >= 4 && min_side <= max_side && max_side <= canvas, "PasteConfig",
            "expected 4 <= min_side <= max_side <= ", canvas, ", got ", min_side, " and ",
            max_side);
  check_arg(max_things >= 1 && max_things <= 64, "PasteConfig",
            "expected max_things in 1..64, got ", max_things);
  check_arg(photos >= 0 && photos <= 100'000, "PasteConfig", "expected photos in 0..100000, got ",
            photos);
  for (const double share : {repeated, tinted, visible}) {
    check_arg(share >= 0 && share <= 1, "PasteConfig",
              "expected repeated, tinted and visible in 0..1, got ", share);
  }
}

struct PastedScenes::State {
  /// What is drawn, before its place.
  struct Choice {
    size_t thing = 0, drawing = 0;
    const data::Colour* tint = nullptr;
    int64_t side = 0;
  };

  const ScaledSprite& scaled(const Choice& choice) {
    const std::tuple key{choice.thing, choice.drawing, choice.side};
    const auto found = cache.find(key);
    if (found != cache.end()) return found->second;
    const data::Sprite& sprite = things[choice.thing].drawings[choice.drawing];
    return cache.emplace(key, ScaledSprite(data::scaled_sprite(sprite.picture, choice.side)))
        .first->second;
  }

  Choice choose(Philox& random) const {
    Choice choice;
    choice.thing = random.uniform_int(things.size());
    const data::SpriteThing& thing = things[choice.thing];
    choice.drawing = random.uniform_int(thing.drawings.size());
    if (thing.tintable && random.uniform() < config.tinted)
      choice.tint = &any_of(data::thing_colours(), random);
    // Log-uniform: as many small things as big ones.
    const double low = static_cast<double>(config.min_side);
    const double high = static_cast<double>(config.max_side);
    const double side = low * std::pow(high / low, random.uniform());
    choice.side = std::clamp<int64_t>(std::llround(side / kSideStep) * kSideStep, config.min_side,
                                      config.max_side);
    return choice;
  }

  data::Background background(Philox& random) const {
    data::Background result;
    const double draw = random.uniform();
    if (!photos.photos.empty() && draw >= kPlain + kGradient) {
      result.kind = BackgroundKind::kPhoto;
      result.photo = any_of(photos.photos, random).name;
      return result;
    }
    result.kind = draw < kPlain ? BackgroundKind::kPlain : BackgroundKind::kGradient;
    result.colour = any_of(data::background_colours(), random).name;
    return result;
  }

  data::Scene scene(int64_t number);

  uint64_t seed = 0;
  PasteConfig config;
  std::vector<data::SpriteThing> things;
  data::Photos photos;
  std::map<std::tuple<size_t, size_t, int64_t>, ScaledSprite> cache;  // thing, drawing, side
};

namespace {

/// Which thing each pixel shows, to know how much of each is still to be seen.
class Owners {
 public:
  explicit Owners(int64_t canvas)
      : canvas_(canvas), owner_(static_cast<size_t>(canvas * canvas), -1) {}

  /// Whether a sprite at (left, top) leaves `share` of every thing below visible.
  bool leaves(double share, const ScaledSprite& sprite, int64_t left, int64_t top) const {
    std::vector<int64_t> hidden(areas_.size(), 0);
    for_each_pixel(sprite, left, top, [&](size_t pixel) {
      if (owner_[pixel] >= 0) ++hidden[static_cast<size_t>(owner_[pixel])];
    });
    for (size_t i = 0; i < areas_.size(); ++i) {
      if (static_cast<double>(seen_[i] - hidden[i]) < share * static_cast<double>(areas_[i]))
        return false;
    }
    return true;
  }

  void add(const ScaledSprite& sprite, int64_t left, int64_t top) {
    const auto thing = static_cast<int>(areas_.size());
    areas_.push_back(0);
    for_each_pixel(sprite, left, top, [&](size_t pixel) {
      if (owner_[pixel] >= 0) --seen_[static_cast<size_t>(owner_[pixel])];
      owner_[pixel] = thing;
      ++areas_.back();
    });
    seen_.push_back(areas_.back());
  }

 private:
  template <class Visit>
  void for_each_pixel(const ScaledSprite& sprite, int64_t left, int64_t top, Visit visit) const {
    for (int64_t y = 0; y < sprite.height; ++y) {
      for (int64_t x = 0; x < sprite.width; ++x) {
        if (sprite.rgba[static_cast<size_t>(4 * (y * sprite.width + x) + 3)] >= kOpaque)
          visit(static_cast<size_t>((top + y) * canvas_ + left + x));
      }
    }
  }

  int64_t canvas_;
  std::vector<int> owner_;             // by pixel; -1: the background
  std::vector<int64_t> areas_, seen_;  // pixels of each thing: all, not hidden
};

int64_t offset_in(int64_t room, Philox& random) {
  return static_cast<int64_t>(random.uniform_int(static_cast<uint64_t>(room + 1)));
}

}  // namespace

data::Scene PastedScenes::State::scene(int64_t number) {
  Philox random(seed, "pasted scene", static_cast<uint64_t>(number));
  data::Scene scene;
  scene.truth.background = background(random);
  scene.picture = paint_background(scene.truth.background, photos, config.canvas);
  Owners owners(config.canvas);
  const auto count = 1 + random.uniform_int(static_cast<uint64_t>(config.max_things));
  std::optional<Choice> previous;
  for (uint64_t i = 0; i < count; ++i) {
    const bool again = random.uniform() < config.repeated && previous.has_value();
    const Choice choice = again ? *previous : choose(random);
    previous = choice;
    const ScaledSprite& sprite = scaled(choice);
    for (int attempt = 0; attempt < kTries; ++attempt) {
      const int64_t left = offset_in(config.canvas - sprite.width, random);
      const int64_t top = offset_in(config.canvas - sprite.height, random);
      if (!owners.leaves(config.visible, sprite, left, top)) continue;
      owners.add(sprite, left, top);
      const std::optional<data::Rgb> tint =
          choice.tint ? std::optional<data::Rgb>(choice.tint->rgb) : std::nullopt;
      const PixelBox box = paint_sprite(sprite, left, top, tint, scene.picture);
      const data::SpriteThing& thing = things[choice.thing];
      scene.truth.things.push_back(
          {thing.name, thing.plural, thing.drawings[choice.drawing].drawing,
           choice.tint ? choice.tint->name : "", data::Size::kMedium, box});
      break;
    }
  }
  return scene;
}

PastedScenes::PastedScenes(const std::string& sprites, const std::vector<std::string>& backgrounds,
                           uint64_t seed, const PasteConfig& config)
    : state_(std::make_unique<State>()) {
  config.validate();
  state_->seed = seed;
  state_->config = config;
  state_->things = data::read_sprites(sprites);
  state_->photos = data::Photos::read(backgrounds, config.photos, config.canvas);
}

PastedScenes::~PastedScenes() = default;

data::Scene PastedScenes::scene(int64_t number) { return state_->scene(number); }

const std::vector<data::SpriteThing>& PastedScenes::things() const { return state_->things; }

}  // namespace lexel::train
