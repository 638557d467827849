#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "apps/data/compose/composer_config.h"
#include "apps/train/task.h"
#include "autoregressive/config.h"

namespace lexel::train {

/// Everything that decides what a generator learns. Saved in checkpoints and, as provenance, in the model file.
struct GeneratorRecipe {
  ar::Config model;
  TaskSchedule schedule;

  double dropout = 0.1;  // of embeddings, attention and feed-forward outputs
  double caption_drop =
      0.1;  // share of samples without their caption (or class): what guidance needs
  std::string noise_captions =
      "0";  // curve over progress: share of captions with stray pieces, see caption_noise.h
  std::string noise_most = "0";   // curve over progress: see TokenNoise
  std::string noise_blind = "0";  // likewise
  std::string places =
      "1";  // curve over progress: share of a picture's places that a step learns from, see chosen_places.h
  std::string start =
      "codes";  // token embedding and softmax: "plain" (random), "codes" (the tokenizer's codebook)
  bool rematerialize = false;  // blocks are computed again in the backward pass: memory for time
  int64_t pretrain_text_steps = 0;  // steps of masked captions before the first picture; 0: none

  // Samples.
  std::string mixture;  // "scenes=0.9 emoji=0.1": shares of the sources; empty: as large as each is
  int64_t scenes =
      0;  // composed scenes that are drawn and tokenized once, and learnt again and again; 0: endless
  data::ComposeConfig compose;  // what scenes look like; canvas follows from the tokenizer
  std::string fit = "pad";      // how captioned pictures become squares: "pad", "crop" or "stretch"

  // Watching.
  int64_t eval_scenes = 256;    // held-out scenes
  int64_t eval_pictures = 128;  // most held-out pictures of each other source
  int64_t samples = 16;         // pictures drawn at each evaluation; 0: none
  double guidance = 3.0;        // of these
  double temperature = 1.0;
  int64_t top_k = 0;  // 0: all
  double top_p = 0.95;
};

template <class AnyRecipe, class Visitor>
requires std::is_same_v<std::remove_const_t<AnyRecipe>, GeneratorRecipe>
void visit_fields(AnyRecipe& r, Visitor&& visitor) {
  ar::visit_fields(r.model, [&visitor](const std::string& name, auto& field) {
    visitor("model." + name, field);
  });
  visit_fields(r.schedule, visitor);
  const auto visit = [&visitor](const char* name, auto& field) {
    visitor(std::string(name), field);
  };
  visit("dropout", r.dropout);
  visit("caption_drop", r.caption_drop);
  visit("noise_captions", r.noise_captions);
  visit("noise_most", r.noise_most);
  visit("noise_blind", r.noise_blind);
  visit("places", r.places);
  visit("start", r.start);
  visit("rematerialize", r.rematerialize);
  visit("pretrain_text_steps", r.pretrain_text_steps);
  visit("mixture", r.mixture);
  visit("scenes", r.scenes);
  visit("compose.grid", r.compose.grid);
  visit("compose.sizes.small", r.compose.sizes.small);
  visit("compose.sizes.low", r.compose.sizes.low);
  visit("compose.sizes.high", r.compose.sizes.high);
  visit("compose.sizes.large", r.compose.sizes.large);
  visit("compose.single", r.compose.single);
  visit("compose.count", r.compose.count);
  visit("compose.relation", r.compose.relation);
  visit("compose.several", r.compose.several);
  visit("compose.plain", r.compose.plain);
  visit("compose.gradient", r.compose.gradient);
  visit("compose.photo", r.compose.photo);
  visit("compose.photos", r.compose.photos);
  visit("compose.centred", r.compose.centred);
  visit("compose.tinted", r.compose.tinted);
  visit("compose.main_drawing", r.compose.main_drawing);
  visit("compose.say_size", r.compose.say_size);
  visit("compose.say_colour", r.compose.say_colour);
  visit("compose.say_background", r.compose.say_background);
  visit("compose.synonyms", r.compose.synonyms);
  visit("fit", r.fit);
  visit("eval_scenes", r.eval_scenes);
  visit("eval_pictures", r.eval_pictures);
  visit("samples", r.samples);
  visit("guidance", r.guidance);
  visit("temperature", r.temperature);
  visit("top_k", r.top_k);
  visit("top_p", r.top_p);
}

/// As ar::may_be_absent, of the fields of the model.
bool may_be_absent(const GeneratorRecipe& recipe, const std::string& field);

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const GeneratorRecipe& recipe);

}  // namespace lexel::train
