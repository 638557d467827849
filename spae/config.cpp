#include "spae/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <sstream>

#include "kernels/check.h"
#include "spae/pyramid.h"
#include "spae/vit.h"

namespace lexel::spae {
namespace {

constexpr const char* kName = "spae::validate";

void check_range(const std::string& field, int64_t value, int64_t low, int64_t high) {
  check_arg(value >= low && value <= high, kName, field, ": expected ", low, " to ", high, ", got ",
            value);
}

void check_choice(const std::string& field, const std::string& value,
                  std::initializer_list<const char*> choices) {
  std::string names;
  for (const char* choice : choices) names += (names.empty() ? "" : ", ") + std::string(choice);
  check_arg(std::find(choices.begin(), choices.end(), value) != choices.end(), kName, field,
            ": expected one of ", names, ", got ", value);
}

void validate_cnn(const Config& config, int64_t grid) {
  const CnnConfig& cnn = config.cnn;
  check_range("cnn.width", cnn.width, 1, 1024);
  check_range("cnn.blocks", cnn.blocks, 1, 16);
  check_range("cnn.groups", cnn.groups, 1, cnn.width);
  const std::vector<int64_t> multipliers = numbers("cnn.multipliers", cnn.multipliers);
  for (const int64_t multiplier : multipliers) check_range("cnn.multipliers", multiplier, 1, 64);
  check_arg(cnn.width % cnn.groups == 0, kName, "cnn.groups: expected a divisor of cnn.width ",
            cnn.width, ", got ", cnn.groups);
  const int64_t halvings = static_cast<int64_t>(multipliers.size()) - 1;
  check_arg(config.image_size == grid << halvings, kName, "cnn.multipliers: expected ",
            config.image_size, " pixels halved ", halvings, " times to be the finest side ", grid,
            ", got ", config.image_size >> halvings);
}

void validate_vit(const Config& config, int64_t grid) {
  const int64_t cell = config.image_size / grid;  // pixels of a position
  check_range("vit.patch_size", config.vit.patch_size, 1, 64);
  check_arg(config.vit.patch_size % cell == 0 && config.image_size % config.vit.patch_size == 0,
            kName, "vit.patch_size: expected a multiple of ", cell, " that divides ",
            config.image_size, ", got ", config.vit.patch_size);
  try {  // ViT-VQGAN's encoder and decoder have rules of their own
    vqgan::validate(vit_encoder_config(config));
    vqgan::validate(vit_decoder_config(config));
  } catch (const Error& error) {
    fail(error.kind(), kName, ": vit: ", error.what());
  }
}

Config paper(const std::string& sides) {
  Config config;  // the defaults are the paper's
  config.sides = sides;
  return config;
}

}  // namespace

std::vector<int64_t> numbers(const std::string& field, const std::string& text) {
  constexpr size_t kMost = 16;
  std::vector<int64_t> result;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    int64_t number = 0;
    const auto parsed = std::from_chars(word.data(), word.data() + word.size(), number);
    check_arg(parsed.ec == std::errc() && parsed.ptr == word.data() + word.size() && number >= 1,
              kName, field, ": expected numbers of at least 1, got \"", word, "\"");
    result.push_back(number);
    check_arg(result.size() <= kMost, kName, field, ": expected at most ", kMost, " numbers");
  }
  check_arg(!result.empty(), kName, field, ": expected numbers, got none");
  return result;
}

void validate(const Config& config) {
  check_range("image_size", config.image_size, 1, 4096);
  const Pyramid pyramid = make_pyramid(numbers("sides", config.sides));
  const int64_t grid = pyramid.grid();
  check_arg(config.image_size % grid == 0, kName,
            "image_size: expected a multiple of the finest side ", grid, ", got ",
            config.image_size);
  check_range("num_words", config.num_words, 1, 262144);
  check_range("code_width", config.code_width, 1, 1024);
  check_choice("quantizer", config.quantizer, {"saq", "rq"});
  check_choice("unvisited", config.unvisited, {"zero", "nearest"});
  check_choice("body", config.body, {"cnn", "vit"});
  if (config.body == "cnn") validate_cnn(config, grid);
  if (config.body == "vit") validate_vit(config, grid);
  check_arg(std::isfinite(config.pixel_center) && std::abs(config.pixel_center) <= 1.0, kName,
            "pixel_center: expected -1 to 1, got ", config.pixel_center);
  check_range("feature_width", config.feature_width, 0, 65536);
  check_range("feature_hidden", config.feature_hidden, 1, 65536);
  check_range("feature_layers", config.feature_layers, 1, pyramid.layers());
  check_choice("upper_words", config.upper_words, {"heads", "guide"});
  check_range("semantic_width", config.semantic_width, 1, 65536);
  const bool guided = config.feature_width > 0 && config.upper_words == "guide";
  check_range("semantic_words", config.semantic_words,
              guided ? pyramid.tokens(config.feature_layers) : 0, config.num_words);
  check_arg(config.feature_width == 0 || pyramid.disjoint(config.feature_layers), kName,
            "feature_layers: expected layers that share no position, got ", config.feature_layers);
}

Config spae_6() { return paper("1 2 4 8 16 16"); }
Config spae_8() { return paper("1 2 4 8 16 16 16 16"); }

Config spae_128() {
  Config config;
  config.body = "vit";
  config.unvisited = "nearest";
  for (vqgan::StackConfig* stack : {&config.vit.encoder, &config.vit.decoder}) {
    stack->depth = 2;
    stack->width = 192;
    stack->heads = 3;
    stack->head_width = 64;
    stack->hidden = 768;
  }
  config.vit.decoder.depth = 3;
  config.vit.refine_width = 32;
  config.vit.refine_depth = 2;
  return config;
}

std::vector<std::string> preset_names() { return {"spae-6", "spae-8", "spae-128"}; }

Config preset(const std::string& name) {
  if (name == "spae-6") return spae_6();
  if (name == "spae-8") return spae_8();
  if (name == "spae-128") return spae_128();
  fail(ErrorKind::kUsage, "preset: expected one of spae-6, spae-8, spae-128, got ", name);
}

}  // namespace lexel::spae
