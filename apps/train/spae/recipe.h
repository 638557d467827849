#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "apps/train/task.h"
#include "spae/config.h"
#include "spae/train_step.h"

namespace lexel::train {

/// What a training of SPAE is, in full.
struct SpaeRecipe {
  TaskSchedule schedule;
  spae::Config
      model;  // num_words, feature_width and semantic_words follow words, guide and captions
  spae::LossWeights loss;
  // Curves over the progress of the run (schedule.h): what the decoder gets, 0 the latents, 1 the words; factors of weights.
  std::string quantization = "0:0 0.12:0 0.42:1";
  std::string commitment = "0:1 1:3";  // factor of loss.commitment
  std::string semantic = "1";          // of loss.semantic
  std::string feature_dropout =
      "0";  // curve: share of a picture's features that are their mean: against learning drawings by heart
  std::string adversarial = "1";  // of loss.adversarial; at 0 the discriminator rests
  double all_layers =
      0.6;  // share of pictures whose decoder sees all layers; of the others it sees any number
  double photo_share = 0.33;  // of a batch
  int64_t views = 4;          // of each drawing and photo, whose features are kept; 0: without end
  int64_t known_words = 16;   // of a picture, that targets are drawn from
  int64_t said_at_least = 1;  // captions that hold a word which "guide" may say
  bool start_from_guide = true;       // the semantic path starts as the guide's net
  int64_t discriminator_base = 2048;  // channels times pixels (vqgan::DiscriminatorConfig)
  int64_t discriminator_channels = 128;
  double lecam_decay = 0.99;    // of the running means of scores
  int64_t held_out = 256;       // most held-out drawings, and most held-out photos
  int64_t drawn_held_out = 32;  // of each, whose reconstructions are measured
};

template <class AnyRecipe, class Visitor>
requires std::is_same_v<std::remove_const_t<AnyRecipe>, SpaeRecipe>
void visit_fields(AnyRecipe& r, Visitor&& visitor) {
  visit_fields(r.schedule, visitor);
  visit_fields(r.model, [&visitor](const std::string& name, auto& field) {
    if (name != "num_words" && name != "semantic_words") visitor("model." + name, field);
  });
  visit_fields(
      r.loss, [&visitor](const std::string& name, auto& field) { visitor("loss." + name, field); });
  visitor(std::string("quantization"), r.quantization);
  visitor(std::string("commitment"), r.commitment);
  visitor(std::string("semantic"), r.semantic);
  visitor(std::string("feature_dropout"), r.feature_dropout);
  visitor(std::string("adversarial"), r.adversarial);
  visitor(std::string("all_layers"), r.all_layers);
  visitor(std::string("photo_share"), r.photo_share);
  visitor(std::string("views"), r.views);
  visitor(std::string("known_words"), r.known_words);
  visitor(std::string("said_at_least"), r.said_at_least);
  visitor(std::string("start_from_guide"), r.start_from_guide);
  visitor(std::string("discriminator_base"), r.discriminator_base);
  visitor(std::string("discriminator_channels"), r.discriminator_channels);
  visitor(std::string("lecam_decay"), r.lecam_decay);
  visitor(std::string("held_out"), r.held_out);
  visitor(std::string("drawn_held_out"), r.drawn_held_out);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const SpaeRecipe& recipe);

}  // namespace lexel::train
