#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vqgan/config.h"

namespace lexel::spae {

/// The convolutional body: MAGVIT's two-dimensional VQGAN.
struct CnnConfig {
  int64_t width = 128;  // channels of the finest scale
  std::string multipliers =
      "1 2 2 4";        // of width, a scale each, finest first; a scale halves the sides
  int64_t blocks = 2;   // residual blocks a scale, and as many in the middle
  int64_t groups = 32;  // of the group norms; divides the channels of every scale
};

/// The transformer body: ViT-VQGAN's encoder and decoder on coarse patches. A patch's token holds the codes of all the
/// positions inside of the patch.
struct VitConfig {
  int64_t patch_size = 16;  // pixels; a multiple of image_size / grid
  vqgan::StackConfig encoder;
  vqgan::StackConfig decoder;
  int64_t conv_stride = 2;  // of both convolution stages, as in vqgan::Config
  int64_t stem_width = 0;
  int64_t stem_depth = 0;
  int64_t refine_width = 0;
  int64_t refine_depth = 0;
};

/// SPAE: what the model is, in full. Saved in every model file.
struct Config {
  int64_t image_size = 128;             // pixels, square; a multiple of the finest side
  std::string sides = "1 2 4 8 16 16";  // of the pyramid's layers, from the top (pyramid.h)
  int64_t num_words = 5452;             // K
  int64_t code_width = 32;              // of the words' codes, where the quantizer looks
  std::string quantizer = "saq";        // "saq" (streaming average) or "rq" (residual, to compare)
  bool normalize_latents = true;        // latents of length one, as the codes
  std::string unvisited =
      "zero";                 // what the decoder gets where no layer has been: "zero" or "nearest"
                              // (the result of the nearest visited position); a mark says so too
  std::string body = "cnn";   // "cnn" or "vit"
  CnnConfig cnn;              // of body "cnn"
  VitConfig vit;              // of body "vit"
  double pixel_center = 0.5;  // of the network's input and output
  int64_t feature_width = 0;  // of the frozen features that the upper layers see; 0: there are none
  int64_t feature_hidden = 512;  // of the two-layer net from features
  std::string upper_words =
      "heads";  // how features become latents of the upper layers: "heads" (learned)
                // or "guide" (codes of the words that a guide likes best)
  int64_t semantic_width = 384;  // of "guide": the guide's vectors of words
  int64_t semantic_words = 0;    // of "guide": words that it may say
  int64_t feature_layers = 2;    // layers, from the top, whose positions see them
};

/// Calls visitor(name, field) once for each field, nested names dotted ("vit.encoder.depth").
template <class AnyConfig, class Visitor>
void visit_fields(AnyConfig& c, Visitor&& visitor) {
  visitor(std::string("image_size"), c.image_size);
  visitor(std::string("sides"), c.sides);
  visitor(std::string("num_words"), c.num_words);
  visitor(std::string("code_width"), c.code_width);
  visitor(std::string("quantizer"), c.quantizer);
  visitor(std::string("normalize_latents"), c.normalize_latents);
  visitor(std::string("unvisited"), c.unvisited);
  visitor(std::string("body"), c.body);
  visitor(std::string("cnn.width"), c.cnn.width);
  visitor(std::string("cnn.multipliers"), c.cnn.multipliers);
  visitor(std::string("cnn.blocks"), c.cnn.blocks);
  visitor(std::string("cnn.groups"), c.cnn.groups);
  visitor(std::string("vit.patch_size"), c.vit.patch_size);
  vqgan::visit_stack("vit.encoder", c.vit.encoder, visitor);
  vqgan::visit_stack("vit.decoder", c.vit.decoder, visitor);
  visitor(std::string("vit.conv_stride"), c.vit.conv_stride);
  visitor(std::string("vit.stem_width"), c.vit.stem_width);
  visitor(std::string("vit.stem_depth"), c.vit.stem_depth);
  visitor(std::string("vit.refine_width"), c.vit.refine_width);
  visitor(std::string("vit.refine_depth"), c.vit.refine_depth);
  visitor(std::string("pixel_center"), c.pixel_center);
  visitor(std::string("feature_width"), c.feature_width);
  visitor(std::string("feature_hidden"), c.feature_hidden);
  visitor(std::string("upper_words"), c.upper_words);
  visitor(std::string("semantic_width"), c.semantic_width);
  visitor(std::string("semantic_words"), c.semantic_words);
  visitor(std::string("feature_layers"), c.feature_layers);
}

/// Whole numbers of a text such as "1 2 4".
///
/// field    for the message
/// throws   Error(kUsage) on anything that is not a number of at least 1, on none and on more than 16
std::vector<int64_t> numbers(const std::string& field, const std::string& text);

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const Config& config);

/// The paper's models: 128 pixels, 16 x 16 positions, six layers (597 tokens) and eight (1109), the convolutional body.
/// source   Yu et al. 2023, arXiv:2306.17842, section 4.1; from memory, as the paper's text could not be had
Config spae_6();
Config spae_8();

/// The model for assets/: six layers, the transformer body on 64 patches of 16 pixels, 3.0 M parameters.
Config spae_128();

/// The names that preset() knows.
std::vector<std::string> preset_names();

/// A preset by its name on the command line: "spae-6", "spae-8", "spae-128".
/// throws   Error(kUsage) listing the names
Config preset(const std::string& name);

}  // namespace lexel::spae
