#include "apps/train/scorer/scenes.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <utility>

#include "apps/data/compose/grammar.h"
#include "kernels/check.h"

namespace lexel::train {
namespace {

// Scene numbers of what is decoded once and kept; fresh scenes stay below.
constexpr int64_t kFirstDecoded = int64_t{1} << 40;

/// (n, S, S, 3) uint8 as (n, 3, S, S) float32 in [0, 1].
at::Tensor to_floats(const std::vector<at::Tensor>& pictures) {
  return at::stack(pictures).permute({0, 3, 1, 2}).to(at::kFloat).div_(255.0).contiguous();
}

/// A way to tell the scene, drawn anew each time: sentences that are not held out.
data::Wording any_wording(data::SceneKind kind, const data::ComposeConfig& config, Philox& random) {
  const std::vector<data::Sentence>& all = data::sentences(kind);
  std::vector<int32_t> allowed;
  for (size_t i = 0; i < all.size(); ++i)
    if (!all[i].held_out) allowed.push_back(static_cast<int32_t>(i));
  data::Wording wording;
  wording.sentence = allowed[random.uniform_int(allowed.size())];
  wording.size = random.uniform() < config.say_size;
  wording.colour = random.uniform() < config.say_colour;
  wording.background = random.uniform() < config.say_background;
  wording.synonyms = random.uniform() < config.synonyms;
  return wording;
}

}  // namespace

ScorerScenes::ScorerScenes(const data::Composer& composer, const ImageTokenizer* tokenizer,
                           const ScorerRecipe& recipe)
    : composer_(composer), tokenizer_(tokenizer), recipe_(recipe) {
  const int64_t size = recipe.model.image_size;
  check(composer.config().canvas == size, ErrorKind::kUsage, "the scorer looks at ", size,
        " pixels, scenes have ", composer.config().canvas);
  check(tokenizer || recipe.decoded == 0.0, ErrorKind::kUsage,
        "--tokenizer is needed: the recipe wants decoded pictures");
  check(!tokenizer || tokenizer->info().image_size == size, ErrorKind::kUsage,
        "the scorer looks at ", size, " pixels, the tokenizer at ",
        tokenizer ? tokenizer->info().image_size : 0);
}

at::Tensor ScorerScenes::through_tokenizer(const at::Tensor& pictures) const {
  return tokenizer_->decode(tokenizer_->encode(pictures));
}

const ScorerScenes::Example& ScorerScenes::decoded_example(int64_t index) {
  const auto found = decoded_.find(index);
  if (found != decoded_.end()) return found->second;
  data::Scene scene = composer_.scene(kFirstDecoded + index, data::Split::kTrain);
  const at::Tensor decoded = through_tokenizer(to_floats({scene.picture.pixels}));
  const at::Tensor bytes =
      decoded[0].permute({1, 2, 0}).mul(255.0).add_(0.5).clamp_(0.0, 255.0).to(at::kByte);
  return decoded_.emplace(index, Example{bytes.contiguous(), std::move(scene.truth)}).first->second;
}

ScorerBatch ScorerScenes::batch(int64_t number) {
  const int64_t size = recipe_.schedule.batch;
  const auto seed = static_cast<uint64_t>(recipe_.schedule.seed);
  std::vector<at::Tensor> pictures;
  std::vector<Content> shown, told;
  std::vector<int64_t> owner;  // of each caption
  std::vector<std::string> own, changed;
  std::vector<Content> changed_contents;
  std::vector<int64_t> changed_owner;
  for (int64_t i = 0; i < size; ++i) {
    const int64_t sample = number * size + i;
    Philox random(seed, "scorer's sample", static_cast<uint64_t>(sample));
    Example example;
    if (random.uniform() < recipe_.decoded) {
      example = decoded_example(
          static_cast<int64_t>(random.uniform_int(static_cast<uint64_t>(recipe_.decoded_scenes))));
    } else {
      data::Scene scene = composer_.scene(sample, data::Split::kTrain);
      example = {scene.picture.pixels, std::move(scene.truth)};
    }
    const data::Wording wording = any_wording(example.truth.kind, composer_.config(), random);
    pictures.push_back(example.picture);
    own.push_back(data::caption_of(example.truth, wording));
    shown.push_back(content_of(example.truth));
    owner.push_back(i);
    auto others = changed_captions(example.truth, wording, composer_.things(), random);
    const auto kept = std::min(others.size(), static_cast<size_t>(recipe_.changed_captions));
    for (size_t k = 0; k < kept; ++k) {
      changed.push_back(std::move(others[k].caption));
      changed_contents.push_back(content_of(others[k].truth));
      changed_owner.push_back(i);
    }
  }
  told = shown;
  told.insert(told.end(), changed_contents.begin(), changed_contents.end());
  owner.insert(owner.end(), changed_owner.begin(), changed_owner.end());

  ScorerBatch out;
  out.pictures = to_floats(pictures);
  out.captions = std::move(own);
  out.captions.insert(out.captions.end(), changed.begin(), changed.end());
  out.ignored = at::zeros({size, static_cast<int64_t>(told.size())}, at::kBool);
  bool* ignored = out.ignored.mutable_data_ptr<bool>();
  for (int64_t i = 0; i < size; ++i)
    for (size_t c = 0; c < told.size(); ++c, ++ignored)
      *ignored = owner[c] != i && could_be(shown[static_cast<size_t>(i)], told[c]);
  return out;
}

const HeldOutScenes& ScorerScenes::held_out() {
  if (held_out_.pictures.defined()) return held_out_;
  std::vector<at::Tensor> pictures, decoded;
  for (int64_t n = 0; n < recipe_.held_out; ++n) {
    const data::Scene scene = composer_.scene(n, data::Split::kHeldOut);
    Philox random(static_cast<uint64_t>(recipe_.schedule.seed), "scorer's held-out caption",
                  static_cast<uint64_t>(n));
    pictures.push_back(scene.picture.pixels);
    if (tokenizer_)
      decoded.push_back(through_tokenizer(to_floats({scene.picture.pixels})).clamp(0.0, 1.0));
    held_out_.captions.push_back(scene.caption);
    held_out_.contents.push_back(content_of(scene.truth));
    held_out_.changed.push_back(
        changed_captions(scene.truth, scene.truth.wording, composer_.things(), random));
  }
  held_out_.pictures = to_floats(pictures);
  if (tokenizer_) held_out_.decoded = at::cat(decoded);
  return held_out_;
}

}  // namespace lexel::train
