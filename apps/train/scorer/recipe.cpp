#include "apps/train/scorer/recipe.h"

#include "kernels/check.h"

namespace lexel::train {

void validate(const ScorerRecipe& recipe) {
  validate(recipe.schedule);
  ar::validate(recipe.model);
  const auto range = [](const char* field, auto value, auto low, auto high) {
    check(value >= low && value <= high, ErrorKind::kUsage, "recipe: ", field, ": expected ", low,
          " to ", high, ", got ", value);
  };
  range("batch", recipe.schedule.batch, int64_t{2}, int64_t{65536});
  range("decoded", recipe.decoded, 0.0, 1.0);
  range("decoded_scenes", recipe.decoded_scenes, int64_t{1}, int64_t{1'000'000});
  range("changed_captions", recipe.changed_captions, int64_t{0}, int64_t{16});
  range("held_out", recipe.held_out, int64_t{32}, int64_t{100'000});
}

}  // namespace lexel::train
