#include "apps/eval/generator/scene_set.h"

#include <ATen/ops/stack.h>
#include <nlohmann/json.hpp>

#include "apps/train/generator/recipe.h"
#include "kernels/check.h"
#include "tokenizers/io/fields_json.h"
#include "tokenizers/io/sha256.h"

namespace lexel::eval {

data::ComposeConfig scenes_of_training(const ModelFile& generator, const std::string& name,
                                       int64_t canvas) {
  train::GeneratorRecipe recipe;
  recipe.compose.canvas = canvas;
  const auto provenance = nlohmann::json::parse(generator.provenance, nullptr, false);
  if (!provenance.is_object() || !provenance.contains("recipe") ||
      !provenance["recipe"].is_object()) {
    return recipe.compose;
  }
  const nlohmann::json& told = provenance["recipe"];
  visit_fields(recipe, [&](const std::string& key, auto& field) {
    if (!key.starts_with("compose.")) return;
    if (const auto found = told.find(key); found != told.end())
      fields_json::read_field(*found, name, key, field);
  });
  try {
    recipe.compose.validate();
  } catch (const Error& error) {  // from a file it is bad data, not a wrong argument
    fail(ErrorKind::kBadData, name, ": the recipe in its provenance: ", error.what());
  }
  return recipe.compose;
}

SceneSet compose_set(const data::Composer& composer, data::Split split, int64_t first,
                     int64_t count) {
  check_arg(count >= 1, "compose_set", "expected 1 scene at least, got ", count);
  SceneSet set;
  std::vector<at::Tensor> pictures;
  std::string hashes;
  for (int64_t i = 0; i < count; ++i) {
    data::Scene scene = composer.scene(first + i, split);
    const at::Tensor& pixels = scene.picture.pixels;
    hashes +=
        sha256(pixels.const_data_ptr<uint8_t>(), pixels.nbytes()) + " " + scene.caption + "\n";
    pictures.push_back(to_tensor(scene.picture));
    set.captions.push_back(std::move(scene.caption));
    set.truths.push_back(std::move(scene.truth));
  }
  set.pictures = at::stack(pictures);
  set.hash = sha256(hashes.data(), hashes.size());
  return set;
}

}  // namespace lexel::eval
