#include "apps/data/compose/composer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "apps/data/compose/backdrop.h"
#include "apps/data/compose/colours.h"
#include "apps/data/compose/grammar.h"
#include "apps/data/compose/held_out.h"
#include "apps/data/compose/layout.h"
#include "apps/data/compose/paint.h"
#include "kernels/check.h"
#include "kernels/philox.h"
#include "tokenizers/io/sha256.h"

namespace lexel::data {
namespace {

// To be raised whenever scene n of a configuration becomes another: caches of its tokens then know it.
constexpr int kVersion = 3;

constexpr int64_t kMaxCount = 5;       // things in a scene
constexpr double kMinContrast = 80.0;  // between a thing and its background: distance in RGB
constexpr size_t kSides = 4;           // small, low, high, large of ThingSizes
constexpr std::array kRelations{Relation::kLeftOf, Relation::kRightOf, Relation::kAbove,
                                Relation::kBelow};
constexpr std::array kKinds{SceneKind::kSingle, SceneKind::kCount, SceneKind::kRelation,
                            SceneKind::kSeveral};

// What is in a scene, before sizes, colours and places.
struct Content {
  struct Item {
    size_t thing;
    int64_t count;
  };
  std::vector<Item> items;
  Relation relation = Relation::kNone;
};

// The contents of one side of the split, by kind; kSeveral is drawn, not listed.
using Contents = std::array<std::vector<Content>, 3>;

size_t index_of(SceneKind kind) { return static_cast<size_t>(kind); }

template <class List>
const auto& any_of(const List& list, Philox& random) {
  return list[random.uniform_int(list.size())];
}

// An index with the chance of its weight; the weights sum to more than 0.
size_t weighted(const std::array<double, 4>& weights, Philox& random) {
  double left = random.uniform() * (weights[0] + weights[1] + weights[2] + weights[3]);
  size_t last = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0.0) continue;
    last = i;
    if (left < weights[i]) break;
    left -= weights[i];
  }
  return last;
}

double distance(const Rgb& a, const Rgb& b) {
  double sum = 0.0;
  for (size_t c = 0; c < 3; ++c) sum += std::pow(double{1} * a[c] - b[c], 2);
  return std::sqrt(sum);
}

int64_t side_of(size_t size, const ComposeConfig& config) {
  const ThingSizes& sizes = config.sizes;
  const std::array<int64_t, kSides> sides{sizes.small, sizes.low, sizes.high, sizes.large};
  return sides[size];
}

// Side of the place that a thing of this size stands in.
int64_t place_of(size_t size, const ComposeConfig& config) {
  return (side_of(size, config) + config.grid - 1) / config.grid * config.grid;
}

Size word_of(size_t size) {
  return size == 0 ? Size::kSmall : size + 1 == kSides ? Size::kLarge : Size::kMedium;
}

// Chances of the sizes of each thing, by what usually finds room.
std::array<double, kSides> size_weights(SceneKind kind, size_t things) {
  if (kind == SceneKind::kSingle) return {0.1, 0.1, 0.5, 0.3};
  if (kind == SceneKind::kRelation) return {0.2, 0.25, 0.4, 0.15};
  if (things == 2) return {0.1, 0.3, 0.6, 0.0};
  if (things == 3) return {0.2, 0.8, 0.0, 0.0};
  return {0.5, 0.5, 0.0, 0.0};
}

}  // namespace

void ComposeConfig::validate() const {
  const auto range = [](int64_t value, int64_t low, int64_t high, const char* field) {
    check_arg(value >= low && value <= high, "compose", "expected ", field, " from ", low, " to ",
              high, ", got ", value);
  };
  range(canvas, 32, 1024, "a canvas");
  range(grid, 1, canvas / 3, "a grid");
  range(sizes.small, 8, canvas, "a small size");
  range(sizes.low, sizes.small, canvas, "a low size");
  range(sizes.high, sizes.low, canvas, "a high size");
  range(sizes.large, sizes.high, canvas, "a large size");
  check_arg(place_of(kSides - 1, *this) <= canvas / grid * grid, "compose",
            "expected a large size that fits the grid, got ", sizes.large);
  // Five things need a board of 3 x 3.
  check_arg(3 * place_of(0, *this) <= canvas, "compose",
            "expected a small size of which three fit side by side into ", canvas, " pixels, got ",
            sizes.small);
  range(photos, 1, 4096, "photos");
  for (const double share : {single, count, relation, several, plain, gradient, photo})
    check_arg(share >= 0.0 && share <= 1e6, "compose", "expected shares from 0 to 1e6, got ",
              share);
  check_arg(single + count + relation + several > 0.0, "compose",
            "expected one kind of scene with a share above 0");
  check_arg(plain + gradient + photo > 0.0, "compose",
            "expected one kind of background with a share above 0");
  for (const double chance :
       {centred, tinted, main_drawing, say_size, say_colour, say_background, synonyms})
    check_arg(chance >= 0.0 && chance <= 1.0, "compose", "expected chances from 0 to 1, got ",
              chance);
}

struct Composer::State {
  State(const std::string& tar, const std::vector<std::string>& backgrounds, uint64_t seed_,
        const ComposeConfig& config_);

  void list_contents();
  std::array<double, 4> shares(HeldOut reason) const;
  HeldOut draw_reason(Split split, Philox& random) const;
  Content draw_content(SceneKind kind, HeldOut reason, Philox& random) const;
  Content draw_several(Philox& random) const;
  std::vector<Place> place(const Content& content, SceneKind kind, std::vector<size_t>& sizes,
                           Philox& random) const;
  Background draw_background(const std::vector<Rgb>& things, Philox& random) const;
  Wording draw_wording(SceneKind kind, HeldOut reason, Philox& random) const;
  Scene scene(int64_t number, Split split) const;

  uint64_t seed;
  ComposeConfig config;
  std::vector<SpriteThing> things;
  Photos photos;
  std::vector<std::vector<std::vector<ScaledSprite>>> sprites;  // by thing, drawing, size
  Contents train, held_out;
  std::string fingerprint;
};

Composer::State::State(const std::string& tar, const std::vector<std::string>& backgrounds,
                       uint64_t seed_, const ComposeConfig& config_)
    : seed(seed_), config(config_) {
  config.validate();
  things = read_sprites(tar);
  photos = Photos::read(backgrounds, config.photos, config.canvas);
  if (photos.photos.empty()) {
    config.plain += config.photo;
    config.photo = 0.0;
  }
  std::ostringstream identity;
  identity << "composer " << kVersion << " " << seed << " " << config.canvas << " " << config.grid
           << " " << config.photos << std::hexfloat;
  for (size_t size = 0; size < kSides; ++size) identity << " " << side_of(size, config);
  for (const double value :
       {config.single, config.count, config.relation, config.several, config.plain, config.gradient,
        config.photo, config.centred, config.tinted, config.main_drawing, config.say_size,
        config.say_colour, config.say_background, config.synonyms})
    identity << " " << value;
  identity << " " << photos.fingerprint;
  for (const SpriteThing& thing : things) {
    sprites.emplace_back();
    for (const Sprite& sprite : thing.drawings) {
      sprites.back().emplace_back();
      for (size_t size = 0; size < kSides; ++size)
        sprites.back().back().emplace_back(scaled_sprite(sprite.picture, side_of(size, config)));
      const at::Tensor& pixels = sprite.picture.pixels;
      identity << " " << thing.name << " " << sprite.drawing << " "
               << sha256(pixels.data_ptr<uint8_t>(), pixels.nbytes());
    }
  }
  fingerprint = sha256(identity.str().data(), identity.str().size());
  list_contents();
  const auto usable = [](const std::array<double, 4>& weights) {
    return std::ranges::any_of(weights, [](double weight) { return weight > 0.0; });
  };
  check_arg(usable(shares(HeldOut::kNone)), "compose",
            "expected more things: the kinds of scene asked for cannot be made of ", things.size());
}

void Composer::State::list_contents() {
  const auto add = [&](SceneKind kind, bool out, const Content& content) {
    (out ? held_out : train)[index_of(kind)].push_back(content);
  };
  for (size_t a = 0; a < things.size(); ++a) {
    const std::string& name = things[a].name;
    for (int64_t count = 1; count <= kMaxCount; ++count) {
      add(count == 1 ? SceneKind::kSingle : SceneKind::kCount, is_count_held_out(count, name),
          {{{a, count}}, Relation::kNone});
    }
    for (size_t b = 0; b < things.size(); ++b) {
      if (a == b) continue;
      for (const Relation relation : kRelations) {
        add(SceneKind::kRelation, is_relation_held_out(name, relation, things[b].name),
            {{{a, 1}, {b, 1}}, relation});
      }
    }
  }
}

// Of the kinds that can show this reason (kNone: of a training scene), those of which there is a content.
std::array<double, 4> Composer::State::shares(HeldOut reason) const {
  const Contents& from = reason == HeldOut::kNone || reason == HeldOut::kWording ? train : held_out;
  std::array<double, 4> weights{config.single, config.count, config.relation, config.several};
  for (const SceneKind kind : {SceneKind::kSingle, SceneKind::kCount, SceneKind::kRelation})
    if (from[index_of(kind)].empty()) weights[index_of(kind)] = 0.0;
  if (things.size() < 2 || &from == &held_out) weights[index_of(SceneKind::kSeveral)] = 0.0;
  if (reason == HeldOut::kCount) weights[index_of(SceneKind::kRelation)] = 0.0;
  if (reason == HeldOut::kRelation)
    weights[index_of(SceneKind::kSingle)] = weights[index_of(SceneKind::kCount)] = 0.0;
  return weights;
}

HeldOut Composer::State::draw_reason(Split split, Philox& random) const {
  if (split == Split::kTrain) return HeldOut::kNone;
  std::vector<HeldOut> reasons;
  for (const HeldOut reason : {HeldOut::kWording, HeldOut::kCount, HeldOut::kRelation}) {
    const std::array<double, 4> weights = shares(reason);
    if (std::ranges::any_of(weights, [](double weight) { return weight > 0.0; }))
      reasons.push_back(reason);
  }
  return any_of(reasons, random);  // never empty: a sentence can always be held out
}

Content Composer::State::draw_several(Philox& random) const {
  Content content;
  const size_t groups = things.size() == 2 ? 2 : 2 + random.uniform_int(2);
  int64_t left = kMaxCount;
  while (content.items.size() < groups) {
    const size_t thing = random.uniform_int(things.size());
    const auto same = [&](const Content::Item& item) { return item.thing == thing; };
    if (std::ranges::any_of(content.items, same)) continue;
    const int64_t others = static_cast<int64_t>(groups - content.items.size() - 1);
    const int64_t most = std::min<int64_t>(3, left - others);
    int64_t count = 1 + static_cast<int64_t>(random.uniform_int(static_cast<uint64_t>(most)));
    if (count > 1 && is_count_held_out(count, things[thing].name)) count = 1;
    content.items.push_back({thing, count});
    left -= count;
  }
  return content;
}

Content Composer::State::draw_content(SceneKind kind, HeldOut reason, Philox& random) const {
  if (kind == SceneKind::kSeveral) return draw_several(random);
  const bool out = reason == HeldOut::kCount || reason == HeldOut::kRelation;
  return any_of((out ? held_out : train)[index_of(kind)], random);
}

// One place a thing, in order. Where the sizes leave no room, the largest things become smaller.
std::vector<Place> Composer::State::place(const Content& content, SceneKind kind,
                                          std::vector<size_t>& sizes, Philox& random) const {
  const bool usual = random.uniform() < config.centred;
  for (;;) {
    std::vector<int64_t> sides;
    for (size_t i = 0; i < content.items.size(); ++i)
      sides.insert(sides.end(), static_cast<size_t>(content.items[i].count),
                   place_of(sizes[i], config));
    const bool pair = kind == SceneKind::kRelation;
    std::vector<Place> places;
    if (usual)
      places = pair
                   ? place_in_line(sides[0], sides[1], content.relation, config.canvas, config.grid)
                   : place_in_rows(sides, config.canvas, config.grid);
    if (places.empty())
      places = pair ? place_related(sides[0], sides[1], content.relation, config.canvas,
                                    config.grid, random)
                    : place_apart(sides, config.canvas, config.grid, random);
    if (!places.empty()) return places;
    size_t& largest = *std::ranges::max_element(sizes);
    check(largest > 0, ErrorKind::kInternal, "compose: no room for ", sides.size(),
          " small things");
    --largest;
  }
}

Background Composer::State::draw_background(const std::vector<Rgb>& colours_of_things,
                                            Philox& random) const {
  Background background;
  background.kind = static_cast<BackgroundKind>(
      weighted({config.plain, config.gradient, config.photo, 0.0}, random));
  if (background.kind == BackgroundKind::kPhoto) {
    background.photo = any_of(photos.photos, random).name;
    return background;
  }
  // Colours on which every thing can be seen; the best one when there is none.
  const auto contrast = [&](const Colour& colour) {
    double least = 1e9;
    for (const Rgb& thing : colours_of_things) {
      least = std::min(least, distance(thing, colour.rgb));
      if (background.kind == BackgroundKind::kGradient)
        least = std::min(least, distance(thing, gradient_end(colour)));
    }
    return least;
  };
  const auto& all = background_colours();
  std::vector<Colour> good;
  for (const Colour& colour : all)
    if (contrast(colour) >= kMinContrast) good.push_back(colour);
  if (good.empty()) good.push_back(*std::ranges::max_element(all, {}, contrast));
  background.colour = any_of(good, random).name;
  return background;
}

Wording Composer::State::draw_wording(SceneKind kind, HeldOut reason, Philox& random) const {
  std::vector<int32_t> allowed;
  const auto& all = sentences(kind);
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].held_out == (reason == HeldOut::kWording))
      allowed.push_back(static_cast<int32_t>(i));
  Wording wording;
  wording.sentence = any_of(allowed, random);
  wording.size = random.uniform() < config.say_size;
  wording.colour = random.uniform() < config.say_colour;
  wording.background = random.uniform() < config.say_background;
  wording.synonyms = random.uniform() < config.synonyms;
  return wording;
}

Scene Composer::State::scene(int64_t number, Split split) const {
  Philox random(seed, split == Split::kTrain ? "scene to train on" : "scene held out",
                static_cast<uint64_t>(number));
  Scene scene;
  Truth& truth = scene.truth;
  truth.held_out = draw_reason(split, random);
  truth.kind = kKinds[weighted(shares(truth.held_out), random)];
  const Content content = draw_content(truth.kind, truth.held_out, random);
  truth.relation = content.relation;

  struct Look {
    size_t drawing;
    const Colour* tint;  // null: as drawn
  };
  size_t total = 0;
  for (const Content::Item& item : content.items) total += static_cast<size_t>(item.count);
  std::vector<Look> looks;
  std::vector<size_t> sizes;  // by item, index into ThingSizes
  std::vector<Rgb> colours;
  for (const Content::Item& item : content.items) {
    const SpriteThing& thing = things[item.thing];
    const size_t main = thing.drawings.size() - 1;
    const bool others = main > 0 && random.uniform() >= config.main_drawing;
    Look look{others ? random.uniform_int(main) : main, nullptr};
    if (thing.tintable && random.uniform() < config.tinted)
      look.tint = &any_of(thing_colours(), random);
    sizes.push_back(weighted(size_weights(truth.kind, total), random));
    colours.push_back(look.tint ? look.tint->rgb : sprites[item.thing][look.drawing][1].mean);
    looks.push_back(look);
  }
  const std::vector<Place> places = place(content, truth.kind, sizes, random);
  truth.background = draw_background(colours, random);
  truth.wording = draw_wording(truth.kind, truth.held_out, random);

  scene.picture = paint_background(truth.background, photos, config.canvas);
  size_t next = 0;
  for (size_t i = 0; i < content.items.size(); ++i) {
    const SpriteThing& thing = things[content.items[i].thing];
    const Look& look = looks[i];
    const ScaledSprite& sprite = sprites[content.items[i].thing][look.drawing][sizes[i]];
    for (int64_t copy = 0; copy < content.items[i].count; ++copy, ++next) {
      const Place& at = places[next];
      const PixelBox box = paint_sprite(
          sprite, at.left + (at.side - sprite.width) / 2, at.top + (at.side - sprite.height) / 2,
          look.tint ? std::optional<Rgb>(look.tint->rgb) : std::nullopt, scene.picture);
      truth.things.push_back({thing.name, thing.plural, thing.drawings[look.drawing].drawing,
                              look.tint ? look.tint->name : "", word_of(sizes[i]), box});
    }
  }
  scene.caption = caption_of(truth, truth.wording);
  return scene;
}

Composer::Composer(const std::string& sprites, const std::vector<std::string>& backgrounds,
                   uint64_t seed, const ComposeConfig& config)
    : state_(std::make_unique<State>(sprites, backgrounds, seed, config)) {}

Composer::~Composer() = default;
Composer::Composer(Composer&&) noexcept = default;

Scene Composer::scene(int64_t number, Split split) const {
  check_arg(number >= 0, "Composer::scene", "expected a number from 0, got ", number);
  return state_->scene(number, split);
}

const std::vector<SpriteThing>& Composer::things() const { return state_->things; }
const ComposeConfig& Composer::config() const { return state_->config; }
const std::string& Composer::fingerprint() const { return state_->fingerprint; }

}  // namespace lexel::data
