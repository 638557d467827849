#include "vqgan/config.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "kernels/check.h"

namespace lexel::vqgan {
namespace {

void check_range(const std::string& field, int64_t value, int64_t low, int64_t high) {
  check_arg(value >= low && value <= high, "vqgan::validate", field, ": expected ", low, " to ",
            high, ", got ", value);
}

void check_choice(const std::string& field, const std::string& value,
                  std::initializer_list<const char*> choices) {
  std::string names;
  for (const char* choice : choices) names += (names.empty() ? "" : ", ") + std::string(choice);
  check_arg(std::find(choices.begin(), choices.end(), value) != choices.end(), "vqgan::validate",
            field, ": expected one of ", names, ", got ", value);
}

void validate_stack(const std::string& prefix, const StackConfig& stack) {
  check_range(prefix + ".depth", stack.depth, 0, 256);
  check_range(prefix + ".width", stack.width, 1, 16384);
  check_range(prefix + ".heads", stack.heads, 1, 256);
  check_range(prefix + ".head_width", stack.head_width, 1, 1024);
  check_range(prefix + ".hidden", stack.hidden, 1, 65536);
  check_choice(prefix + ".activation", stack.activation, {"gelu", "tanh"});
}

/// A row of Table 2 of the paper.
StackConfig paper_stack(int64_t depth, int64_t heads, int64_t width, int64_t hidden) {
  StackConfig stack;
  stack.depth = depth;
  stack.width = width;
  stack.heads = heads;
  stack.head_width = width / heads;
  stack.hidden = hidden;
  return stack;
}

StackConfig paper_small() { return paper_stack(8, 8, 512, 2048); }
StackConfig paper_base() { return paper_stack(12, 12, 768, 3072); }
StackConfig paper_large() { return paper_stack(32, 16, 1280, 5120); }

Config paper_pair(const StackConfig& encoder, const StackConfig& decoder) {
  Config config;  // the defaults are the paper's
  config.encoder = encoder;
  config.decoder = decoder;
  return config;
}

}  // namespace

void validate(const Config& config) {
  check_range("image_size", config.image_size, 1, 4096);
  check_range("patch_size", config.patch_size, 1, 64);
  check_arg(config.image_size % config.patch_size == 0, "vqgan::validate",
            "image_size: expected a multiple of patch_size ", config.patch_size, ", got ",
            config.image_size);
  validate_stack("encoder", config.encoder);
  validate_stack("decoder", config.decoder);
  check_range("codebook_size", config.codebook_size, 1, 262144);
  check_range("code_width", config.code_width, 1, 1024);
  check_choice("positions", config.positions, {"learned", "sincos"});
  check_choice("output", config.output, {"rgb", "logit_laplace"});
  if (config.positions == "sincos") {
    for (const auto& [field, width] : {std::pair{"encoder.width", config.encoder.width},
                                       std::pair{"decoder.width", config.decoder.width}}) {
      check_arg(width % 4 == 0, "vqgan::validate", field,
                ": expected a multiple of 4 for sincos positions, got ", width);
    }
  }
  check_arg(std::isfinite(config.pixel_center) && std::abs(config.pixel_center) <= 1.0,
            "vqgan::validate", "pixel_center: expected -1 to 1, got ", config.pixel_center);
  check_range("stem_width", config.stem_width, 0, 1024);
  check_range("stem_depth", config.stem_depth, 0, 64);
  check_range("refine_width", config.refine_width, 0, 1024);
  check_range("refine_depth", config.refine_depth, 0, 64);
  if (config.stem_width > 0 || config.refine_width > 0) {
    check_range("conv_stride", config.conv_stride, 1, config.patch_size);
    check_arg(config.patch_size % config.conv_stride == 0, "vqgan::validate",
              "conv_stride: expected a divisor of patch_size ", config.patch_size, ", got ",
              config.conv_stride);
  }
  if (config.linear_path) {
    check_arg(config.normalize_codes, "vqgan::validate",
              "linear_path: expected normalize_codes with it, got false");
    check_arg(config.output == "rgb", "vqgan::validate",
              "linear_path: expected output rgb with it, got ", config.output);
    check_arg(config.code_width >= 2 &&
                  config.code_width - 1 <= 3 * config.patch_size * config.patch_size,
              "vqgan::validate", "code_width: expected 2 to ",
              3 * config.patch_size * config.patch_size + 1, " with linear_path, got ",
              config.code_width);
  }
}

Config vit_vqgan_ss() { return paper_pair(paper_small(), paper_small()); }
Config vit_vqgan_bb() { return paper_pair(paper_base(), paper_base()); }
Config vit_vqgan_sl() { return paper_pair(paper_small(), paper_large()); }

Config lexel_128() {
  Config config;
  config.image_size = 128;
  config.encoder = paper_stack(2, 4, 256, 1024);
  config.decoder = paper_stack(2, 4, 256, 1024);
  config.code_width = 16;
  config.linear_path = true;
  config.stem_width = 48;
  config.stem_depth = 1;
  config.refine_width = 64;
  config.refine_depth = 2;
  return config;
}

std::vector<std::string> preset_names() { return {"ss", "bb", "sl", "lexel-128"}; }

Config preset(const std::string& name) {
  if (name == "ss") return vit_vqgan_ss();
  if (name == "bb") return vit_vqgan_bb();
  if (name == "sl") return vit_vqgan_sl();
  if (name == "lexel-128") return lexel_128();
  fail(ErrorKind::kUsage, "preset: expected one of ss, bb, sl, lexel-128, got ", name);
}

}  // namespace lexel::vqgan
