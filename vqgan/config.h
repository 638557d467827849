#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::vqgan {

/// One transformer stack (encoder or decoder).
struct StackConfig {
  int64_t depth = 8;                // blocks
  int64_t width = 512;              // D
  int64_t heads = 8;                // H
  int64_t head_width = 64;          // D / H in the paper; 64 always in enhancing-transformers
  int64_t hidden = 2048;            // width of the feed-forward layer
  std::string activation = "gelu";  // of the feed-forward layer: "gelu" (tanh form) or "tanh"
  bool qkv_bias = true;
  bool tanh_head = true;  // two-layer feed-forward net with a tanh at the stack's output
};

/// ViT-VQGAN: what the model is, in full. Saved in every model file.
struct Config {
  int64_t image_size = 256;  // pixels, square; a multiple of patch_size
  int64_t patch_size = 8;    // pixels
  StackConfig encoder;
  StackConfig decoder;
  int64_t codebook_size = 8192;  // K
  int64_t code_width = 32;       // width of the factorized codes
  bool normalize_codes = true;   // l2-normalise latents and codes (cosine look-up); false: plain L2
  std::string positions = "learned";  // "learned" or "sincos" (fixed 2-D table)
  std::string output = "rgb";         // "rgb" (raw, Parti's fix) or "logit_laplace" (6 maps)
  double pixel_center =
      0.5;  // of the network's input and of its rgb output; 0 in enhancing-transformers
  bool linear_path = false;  // PCA of the patch beside the transformers (the k-means start)
  int64_t conv_stride = 2;   // pixels per cell of both convolution stages; divides patch_size
  int64_t stem_width = 0;    // channels of the convolution stage before the encoder; 0: none
  int64_t stem_depth = 0;    // its residual blocks, two 3x3 convolutions each
  int64_t refine_width = 0;  // channels of the convolution stage after the decoder; 0: none
  int64_t refine_depth = 0;  // its residual blocks
};

/// The fields of a stack of blocks, named "<prefix>.depth" and so on: for every config that holds one.
template <class AnyStack, class Visitor>
void visit_stack(const std::string& prefix, AnyStack& stack, Visitor&& visitor) {
  visitor(prefix + ".depth", stack.depth);
  visitor(prefix + ".width", stack.width);
  visitor(prefix + ".heads", stack.heads);
  visitor(prefix + ".head_width", stack.head_width);
  visitor(prefix + ".hidden", stack.hidden);
  visitor(prefix + ".activation", stack.activation);
  visitor(prefix + ".qkv_bias", stack.qkv_bias);
  visitor(prefix + ".tanh_head", stack.tanh_head);
}

/// Calls visitor(name, field) once for each field, nested names dotted ("encoder.depth"). JSON,
/// printing and comparison are written on top of this list.
template <class AnyConfig, class Visitor>
void visit_fields(AnyConfig& c, Visitor&& visitor) {
  visitor(std::string("image_size"), c.image_size);
  visitor(std::string("patch_size"), c.patch_size);
  visit_stack("encoder", c.encoder, visitor);
  visit_stack("decoder", c.decoder, visitor);
  visitor(std::string("codebook_size"), c.codebook_size);
  visitor(std::string("code_width"), c.code_width);
  visitor(std::string("normalize_codes"), c.normalize_codes);
  visitor(std::string("positions"), c.positions);
  visitor(std::string("output"), c.output);
  visitor(std::string("pixel_center"), c.pixel_center);
  visitor(std::string("linear_path"), c.linear_path);
  visitor(std::string("conv_stride"), c.conv_stride);
  visitor(std::string("stem_width"), c.stem_width);
  visitor(std::string("stem_depth"), c.stem_depth);
  visitor(std::string("refine_width"), c.refine_width);
  visitor(std::string("refine_depth"), c.refine_depth);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const Config& config);

/// The paper's pairs: encoder/decoder small-small, base-base, small-large; 256 pixels, patch 8, 8192 x 32.
/// source   Yu et al. 2021, arXiv:2110.04627, Table 2 and section 5.1
Config vit_vqgan_ss();
Config vit_vqgan_bb();
Config vit_vqgan_sl();

/// The model in assets/: 128 pixels, patch 8, 256 tokens, 8192 codes, from the k-means start.
Config lexel_128();

/// The names that preset() knows.
std::vector<std::string> preset_names();

/// A preset by its name on the command line: "ss", "bb", "sl", "lexel-128".
/// throws   Error(kUsage) listing the names
Config preset(const std::string& name);

}  // namespace lexel::vqgan
