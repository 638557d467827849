#pragma once

#include <string>
#include <type_traits>

#include "apps/train/task.h"
#include "vqgan/upsampler.h"

namespace lexel::train {

/// All that a run of `lexel train upsampler` is, beside its data.
struct UpsamplerRecipe {
  vqgan::UpsamplerConfig model;
  TaskSchedule schedule;
  double l2 = 1.0;          // weight of the mean squared error
  double perceptual = 0.1;  // weight of the perceptual loss; needs --perceptual
  int64_t min_side = 256;   // pictures with a shorter side are left out, pixels
  int64_t max_side = 1536;  // longest side of a picture kept in memory, pixels
  bool flip = true;
  int64_t eval_pictures = 24;  // of each held-out set
};

template <class AnyRecipe, class Visitor>
requires std::is_same_v<std::remove_const_t<AnyRecipe>, UpsamplerRecipe>
void visit_fields(AnyRecipe& r, Visitor&& visitor) {
  vqgan::visit_fields(r.model, [&visitor](const std::string& name, auto& field) {
    visitor("model." + name, field);
  });
  visit_fields(r.schedule, visitor);
  const auto visit = [&visitor](const char* name, auto& field) {
    visitor(std::string(name), field);
  };
  visit("l2", r.l2);
  visit("perceptual", r.perceptual);
  visit("min_side", r.min_side);
  visit("max_side", r.max_side);
  visit("flip", r.flip);
  visit("eval_pictures", r.eval_pictures);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const UpsamplerRecipe& recipe);

}  // namespace lexel::train
