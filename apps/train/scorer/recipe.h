#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "apps/train/task.h"
#include "autoregressive/scorer_model.h"

namespace lexel::train {

/// What a scorer's training is, in full.
struct ScorerRecipe {
  TaskSchedule schedule;
  ar::ScorerConfig model;         // its text_vocabulary is the text tokenizer's
  double decoded = 0.5;           // share of pictures that went through the picture tokenizer
  int64_t decoded_scenes = 4096;  // of which there are so many, each decoded once
  int64_t changed_captions =
      3;                   // hard negatives a picture: one thing, count, relation or colour else
  int64_t held_out = 256;  // scenes of an evaluation
};

template <class AnyRecipe, class Visitor>
requires std::is_same_v<std::remove_const_t<AnyRecipe>, ScorerRecipe>
void visit_fields(AnyRecipe& r, Visitor&& visitor) {
  visit_fields(r.schedule, visitor);
  visit_fields(r.model, [&visitor](const std::string& name, auto& field) {
    if (name != "text_vocabulary") visitor("model." + name, field);
  });
  visitor(std::string("decoded"), r.decoded);
  visitor(std::string("decoded_scenes"), r.decoded_scenes);
  visitor(std::string("changed_captions"), r.changed_captions);
  visitor(std::string("held_out"), r.held_out);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const ScorerRecipe& recipe);

}  // namespace lexel::train
