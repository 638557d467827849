#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "apps/train/detector/pasted_scenes.h"
#include "apps/train/task.h"

namespace lexel::train {

/// Everything that decides what a detector learns. Its names come from the sprites.
struct DetectorRecipe {
  TaskSchedule schedule{
      .batch = 32, .compute = "fp32", .learning_rate = 2e-3, .beta2 = 0.99, .weight_decay = 0.01};
  // Sizes of the net, see eval::DetectorConfig.
  int64_t fine_width = 48, middle_width = 96, coarse_width = 160;
  int64_t fine_blocks = 1, middle_blocks = 2, coarse_blocks = 2;
  int64_t hidden = 192;
  PasteConfig paste;
  double decoded = 0.5;              // share of a batch that has gone through the picture tokenizer
  int64_t decoded_window = 1536;     // such pictures to draw from ...
  int64_t decoded_first = 256;       // ... at the start ...
  int64_t decoded_fresh = 2;         // ... and so many new ones a batch, for the oldest
  double gain = 0.1, offset = 0.03;  // largest change of contrast and of brightness
  int64_t eval_scenes = 100;         // composed training-side scenes of an evaluation
};

template <class AnyRecipe, class Visitor>
requires std::is_same_v<std::remove_const_t<AnyRecipe>, DetectorRecipe>
void visit_fields(AnyRecipe& r, Visitor&& visitor) {
  visit_fields(r.schedule, visitor);
  const auto visit = [&visitor](const char* name, auto& field) {
    visitor(std::string(name), field);
  };
  visit("fine_width", r.fine_width);
  visit("middle_width", r.middle_width);
  visit("coarse_width", r.coarse_width);
  visit("fine_blocks", r.fine_blocks);
  visit("middle_blocks", r.middle_blocks);
  visit("coarse_blocks", r.coarse_blocks);
  visit("hidden", r.hidden);
  visit("min_side", r.paste.min_side);
  visit("max_side", r.paste.max_side);
  visit("max_things", r.paste.max_things);
  visit("photos", r.paste.photos);
  visit("repeated", r.paste.repeated);
  visit("tinted", r.paste.tinted);
  visit("visible", r.paste.visible);
  visit("decoded", r.decoded);
  visit("decoded_window", r.decoded_window);
  visit("decoded_first", r.decoded_first);
  visit("decoded_fresh", r.decoded_fresh);
  visit("gain", r.gain);
  visit("offset", r.offset);
  visit("eval_scenes", r.eval_scenes);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const DetectorRecipe& recipe);

}  // namespace lexel::train
