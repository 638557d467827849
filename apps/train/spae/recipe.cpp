#include "apps/train/spae/recipe.h"

#include "apps/train/schedule.h"
#include "kernels/check.h"
#include "vqgan/perceptual.h"

namespace lexel::train {

void validate(const SpaeRecipe& recipe) {
  validate(recipe.schedule);
  spae::Config model = recipe.model;
  if (model.upper_words == "guide") model.semantic_words = model.num_words;  // the captions tell
  spae::validate(model);
  spae::validate(recipe.loss);
  const auto range = [](const char* field, auto value, auto low, auto high) {
    check(value >= low && value <= high, ErrorKind::kUsage, "recipe: ", field, ": expected ", low,
          " to ", high, ", got ", value);
  };
  const auto curve = [](const char* field, const std::string& text, double high) {
    for (const auto& [progress, value] : parse_curve(text, field).points) {
      check(value >= 0.0 && value <= high, ErrorKind::kUsage, "recipe: ", field,
            ": expected values of 0 to ", high, ", got ", text);
    }
  };
  curve("quantization", recipe.quantization, 1.0);
  curve("commitment", recipe.commitment, 1e6);
  curve("semantic", recipe.semantic, 1e6);
  curve("feature_dropout", recipe.feature_dropout, 0.9);
  curve("adversarial", recipe.adversarial, 1e6);
  check(model.feature_width == 0 || model.feature_width == vqgan::kDepthFeatures, ErrorKind::kUsage,
        "recipe: model.feature_width: expected 0 or ", vqgan::kDepthFeatures, ", the guide's, got ",
        model.feature_width);
  range("all_layers", recipe.all_layers, 0.0, 1.0);
  range("photo_share", recipe.photo_share, 0.0, 1.0);
  range("views", recipe.views, int64_t{0}, int64_t{1024});
  range("said_at_least", recipe.said_at_least, int64_t{1}, int64_t{1} << 30);
  range("known_words", recipe.known_words, int64_t{1}, model.num_words);
  range("discriminator_base", recipe.discriminator_base, int64_t{1}, int64_t{1} << 20);
  range("discriminator_channels", recipe.discriminator_channels, int64_t{1}, int64_t{4096});
  range("lecam_decay", recipe.lecam_decay, 0.0, 1.0);
  range("held_out", recipe.held_out, int64_t{2}, int64_t{1'000'000});
  range("drawn_held_out", recipe.drawn_held_out, int64_t{1}, recipe.held_out);
}

}  // namespace lexel::train
