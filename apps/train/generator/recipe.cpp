#include "apps/train/generator/recipe.h"

#include <string>
#include <utility>

#include "apps/train/schedule.h"
#include "kernels/check.h"

namespace lexel::train {

bool may_be_absent(const GeneratorRecipe& recipe, const std::string& field) {
  constexpr const char* kModel = "model.";
  return field.starts_with(kModel) &&
         ar::may_be_absent(recipe.model, field.substr(std::char_traits<char>::length(kModel)));
}

void validate(const GeneratorRecipe& r) {
  ar::validate(r.model);
  validate(r.schedule);
  const auto require = [](bool ok, const char* field, const char* expected, const auto& got) {
    check(ok, ErrorKind::kUsage, "recipe: ", field, ": expected ", expected, ", got ", got);
  };
  require(r.dropout >= 0 && r.dropout < 1, "dropout", "0..1 (below 1)", r.dropout);
  require(r.caption_drop >= 0 && r.caption_drop <= 1, "caption_drop", "0..1", r.caption_drop);
  for (const auto& [field, text] :
       {std::pair<const char*, std::string>("noise_captions", r.noise_captions),
        {"noise_most", r.noise_most},
        {"noise_blind", r.noise_blind},
        {"places", r.places}}) {
    for (const auto& [progress, share] : parse_curve(text, field).points) {
      require(share >= 0 && share <= 1, field, "shares 0..1", share);
    }
  }
  require(r.places == "1" || r.model.conv_layers.empty(), "places",
          "1 for a model with conv-shaped blocks", r.places);
  require(r.start == "plain" || r.start == "codes", "start", "plain or codes", r.start);
  require(r.pretrain_text_steps >= 0, "pretrain_text_steps", "at least 0", r.pretrain_text_steps);
  require(r.pretrain_text_steps == 0 || r.model.text_depth > 0, "pretrain_text_steps",
          "0 for a model without text", r.pretrain_text_steps);
  parse_weights(r.mixture, "mixture");
  require(r.scenes >= 0 && r.scenes <= 10'000'000, "scenes", "0..10000000", r.scenes);
  require(r.fit == "pad" || r.fit == "crop" || r.fit == "stretch", "fit", "pad, crop or stretch",
          r.fit);
  require(r.eval_scenes >= 1, "eval_scenes", "at least 1", r.eval_scenes);
  require(r.eval_pictures >= 1, "eval_pictures", "at least 1", r.eval_pictures);
  require(r.samples >= 0 && r.samples <= 1024, "samples", "0..1024", r.samples);
  require(r.guidance >= 0, "guidance", "at least 0", r.guidance);
  require(r.temperature >= 0, "temperature", "at least 0", r.temperature);
  require(r.top_k >= 0, "top_k", "at least 0", r.top_k);
  require(r.top_p > 0 && r.top_p <= 1, "top_p", "above 0, at most 1", r.top_p);
}

}  // namespace lexel::train
