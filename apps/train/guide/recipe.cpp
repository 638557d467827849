#include "apps/train/guide/recipe.h"

#include "kernels/check.h"

namespace lexel::train {

void validate(const GuideRecipe& recipe) {
  validate(recipe.schedule);
  validate(recipe.model);
  const auto range = [](const char* field, auto value, auto low, auto high) {
    check(value >= low && value <= high, ErrorKind::kUsage, "recipe: ", field, ": expected ", low,
          " to ", high, ", got ", value);
  };
  check(recipe.schedule.compute == "fp32", ErrorKind::kUsage,
        "recipe: compute: expected fp32, all that a guide knows, got ", recipe.schedule.compute);
  range("batch", recipe.schedule.batch, int64_t{2}, int64_t{65536});
  range("views", recipe.views, int64_t{1}, int64_t{64});
  range("photo_views", recipe.photo_views, int64_t{1}, int64_t{1024});
  range("photo_share", recipe.photo_share, 0.0, 0.9);
  range("photo_weight", recipe.photo_weight, 0.0, 100.0);
  range("other_weight", recipe.other_weight, 0.0, 1.0);
  range("feature_dropout", recipe.feature_dropout, 0.0, 0.95);
  range("hidden_dropout", recipe.hidden_dropout, 0.0, 0.95);
  range("held_out", recipe.held_out, int64_t{1}, int64_t{1'000'000});
}

}  // namespace lexel::train
