#include "autoregressive/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <utility>

#include "kernels/check.h"

namespace lexel::ar {
namespace {

void check_range(const char* field, int64_t value, int64_t low, int64_t high) {
  check_arg(value >= low && value <= high, "ar::validate", field, ": expected ", low, " to ", high,
            ", got ", value);
}

/// A row of Parti's Table 1.
Config parti(int64_t text_depth, int64_t depth, int64_t width, int64_t hidden, int64_t heads) {
  Config config;  // the defaults are the paper's
  config.text_depth = text_depth;
  config.depth = depth;
  config.width = width;
  config.hidden = hidden;
  config.heads = heads;
  return config;
}

/// A row of ViT-VQGAN's Table 2. The published counts leave room for three matrices of attention, not four.
Config vim(int64_t depth, int64_t width, int64_t hidden, int64_t heads) {
  Config config = parti(0, depth, width, hidden, heads);
  config.attention_output = false;
  return config;
}

/// A row of GLaM's Table 4.
Config glam(int64_t depth, int64_t width, int64_t hidden, int64_t heads) {
  Config config = parti(0, depth, width, hidden, heads);
  config.activation = "geglu";
  config.codebook_size = 256000;
  config.experts = 64;
  return config;
}

void validate_experts(const Config& config) {
  const auto expect = [](bool ok, const char* field, const char* expected, const auto& got) {
    check_arg(ok, "ar::validate", field, ": expected ", expected, ", got ", got);
  };
  expect(config.experts == 0 || (config.experts >= 2 && config.experts <= 65536), "experts",
         "0, or 2 to 65536", config.experts);
  expect(config.routing == "token" || config.routing == "task" || config.routing == "static",
         "routing", "token, task or static", config.routing);
  expect(config.gating == "gshard" || config.gating == "lingvo", "gating", "gshard or lingvo",
         config.gating);
  expect(std::isfinite(config.capacity_factor) && config.capacity_factor > 0.0 &&
             config.capacity_factor <= 65536.0,
         "capacity_factor", "above 0, at most 65536", config.capacity_factor);
  expect(std::isfinite(config.auxiliary_weight) && config.auxiliary_weight >= 0.0,
         "auxiliary_weight", "at least 0", config.auxiliary_weight);
  const bool by_task = config.experts > 0 && config.routing == "task";
  expect(by_task ? config.tasks >= 1 && config.tasks <= 65536 : config.tasks == 0, "tasks",
         by_task ? "1 to 65536" : "0 where experts are not routed by task", config.tasks);
  expect(config.experts == 0 || config.depth >= 2, "depth", "at least 2 with experts",
         config.depth);
}

const std::vector<std::pair<std::string, Config (*)()>>& presets() {
  static const std::vector<std::pair<std::string, Config (*)()>> table = {
      {"parti-350m", parti_350m},       {"parti-750m", parti_750m},
      {"parti-3b", parti_3b},           {"parti-20b", parti_20b},
      {"vim-base", vim_base},           {"vim-large", vim_large},
      {"vim-fashion", vim_fashion},     {"parti-lexel-128", parti_lexel_128},
      {"glam-0.1b-64e", glam_100m_64e}, {"glam-1.7b-64e", glam_1b7_64e},
      {"glam-8b-64e", glam_8b_64e}};
  return table;
}

}  // namespace

void validate(const Config& config) {
  check_range("text_depth", config.text_depth, 0, 256);
  if (config.text_depth > 0) {
    check_range("text_vocabulary", config.text_vocabulary, 1, 1 << 20);
    check_range("max_text_tokens", config.max_text_tokens, 1, 4096);
    check_arg(config.classes == 0, "ar::validate", "classes: expected 0 with text, got ",
              config.classes);
  }
  check_range("classes", config.classes, 0, 1 << 20);
  check_range("depth", config.depth, 1, 256);
  check_range("width", config.width, 1, 16384);
  check_range("heads", config.heads, 1, 256);
  check_arg(config.width % config.heads == 0, "ar::validate", "heads: expected a divisor of width ",
            config.width, ", got ", config.heads);
  check_range("hidden", config.hidden, 1, 65536);
  check_arg(
      config.activation == "gelu" || config.activation == "relu" || config.activation == "geglu",
      "ar::validate", "activation: expected gelu, relu or geglu, got ", config.activation);
  validate_experts(config);
  check_range("grid_height", config.grid_height, 1, 256);
  check_range("grid_width", config.grid_width, 1, 256);
  check_range("codebook_size", config.codebook_size, 1, 262144);
  check_range("conv_kernel", config.conv_kernel, 1, 255);
  check_arg(config.conv_kernel % 2 == 1, "ar::validate",
            "conv_kernel: expected an odd number, got ", config.conv_kernel);
  const std::vector<bool> conv = conv_blocks(config);
  check_arg(std::find(conv.begin(), conv.end(), true) == conv.end() ||
                config.conv_kernel <= config.grid_width,
            "ar::validate", "conv_kernel: expected at most grid_width ", config.grid_width,
            ", got ", config.conv_kernel);
}

std::vector<bool> conv_blocks(const Config& config) {
  const auto depth = static_cast<size_t>(config.depth);
  if (config.conv_layers == "all") return std::vector<bool>(depth, true);
  std::vector<bool> blocks(depth, false);
  std::istringstream words(config.conv_layers);
  for (std::string word; words >> word;) {
    int64_t block = -1;
    const auto parsed = std::from_chars(word.data(), word.data() + word.size(), block);
    check_arg(parsed.ec == std::errc() && parsed.ptr == word.data() + word.size() && block >= 0 &&
                  block < config.depth,
              "ar::validate", "conv_layers: expected \"all\" or numbers in 0 to ", config.depth - 1,
              ", got \"", word, "\"");
    blocks[static_cast<size_t>(block)] = true;
  }
  return blocks;
}

bool may_be_absent(const Config&, const std::string& field) {
  return field == "experts" || field == "capacity_factor" || field == "gating" ||
         field == "routing" || field == "tasks" || field == "auxiliary_weight";
}

bool has_experts(const Config& config, int64_t block) {
  return config.experts > 0 && block % 2 == 1;
}

Config parti_350m() { return parti(12, 12, 1024, 4096, 16); }
Config parti_750m() { return parti(12, 36, 1024, 4096, 16); }
Config parti_3b() { return parti(12, 36, 2048, 8192, 32); }
Config parti_20b() { return parti(16, 64, 4096, 16384, 64); }
Config vim_base() { return vim(24, 1536, 6144, 16); }
Config vim_large() { return vim(36, 2048, 8192, 32); }

Config glam_100m_64e() { return glam(12, 768, 3072, 12); }
Config glam_1b7_64e() { return glam(24, 2048, 8192, 16); }
Config glam_8b_64e() { return glam(32, 4096, 16384, 32); }

Config parti_lexel_128() {
  Config config = parti(2, 4, 320, 1280, 5);
  config.text_vocabulary = 1000;
  config.max_text_tokens = 48;
  config.grid_height = config.grid_width = 16;
  return config;
}

Config vim_fashion() {
  Config config = parti(0, 4, 128, 512, 4);
  config.classes = 10;
  config.grid_height = config.grid_width = 7;  // 28 x 28 pixels, patches of 4
  config.conv_kernel = 5;
  config.codebook_size = 512;
  return config;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const auto& entry : presets()) names.push_back(entry.first);
  return names;
}

Config preset(const std::string& name) {
  std::string names;
  for (const auto& [known, make] : presets()) {
    if (known == name) return make();
    names += (names.empty() ? "" : ", ") + known;
  }
  fail(ErrorKind::kUsage, "preset: expected one of ", names, ", got ", name);
}

}  // namespace lexel::ar
