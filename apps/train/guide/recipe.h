#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "apps/train/task.h"
#include "spae/semantic_guide.h"

namespace lexel::train {

/// What a guide's training is, in full.
struct GuideRecipe {
  TaskSchedule schedule;
  spae::GuideConfig model;
  int64_t views = 2;  // of each drawing, whose features are computed once: the plain one and others
  int64_t photo_views = 8;       // of each photo
  double photo_share = 0.1;      // of a batch
  double photo_weight = 0.2;     // of telling photos from drawings, beside the words' cross-entropy
  double other_weight = 0.4;     // of keywords and folders, beside 1 for the words of the caption
  double feature_dropout = 0.2;  // share of the features that are zeroed
  double hidden_dropout = 0.3;
  int64_t held_out = 1000;  // most held-out drawings, and most held-out photos
};

template <class AnyRecipe, class Visitor>
requires std::is_same_v<std::remove_const_t<AnyRecipe>, GuideRecipe>
void visit_fields(AnyRecipe& r, Visitor&& visitor) {
  visit_fields(r.schedule, visitor);
  visit_fields(r.model, [&visitor](const std::string& name, auto& field) {
    visitor("model." + name, field);
  });
  visitor(std::string("views"), r.views);
  visitor(std::string("photo_views"), r.photo_views);
  visitor(std::string("photo_share"), r.photo_share);
  visitor(std::string("photo_weight"), r.photo_weight);
  visitor(std::string("other_weight"), r.other_weight);
  visitor(std::string("feature_dropout"), r.feature_dropout);
  visitor(std::string("hidden_dropout"), r.hidden_dropout);
  visitor(std::string("held_out"), r.held_out);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const GuideRecipe& recipe);

}  // namespace lexel::train
