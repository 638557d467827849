#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::ar {

/// A generator of picture tokens: what the model is, in full. Saved in every model file. With a text encoder it is Parti
/// (the decoder attends to the caption), without one VIM (decoder alone; one class token before the picture, or none).
struct Config {
  // Text encoder, bidirectional. 0 blocks: none, and no cross-attention.
  int64_t text_depth = 12;
  int64_t text_vocabulary = 16000;  // pieces of the text tokenizer
  int64_t max_text_tokens = 128;    // a longer caption is cut

  int64_t classes = 0;  // without text: classes that can be asked for; 0: unconditional

  // Decoder, causal.
  int64_t depth = 12;               // blocks
  int64_t width = 1024;             // D, of the encoder too
  int64_t heads = 16;               // H; D / H is the width of a head
  int64_t hidden = 4096;            // of the feed-forward layers
  std::string activation = "gelu";  // of the feed-forward layers: "gelu" (tanh form) or "relu"
  bool attention_output =
      true;  // the fourth matrix of self-attention; VIM's published count is without it

  // Pictures.
  int64_t grid_height = 32, grid_width = 32;  // tokens
  int64_t codebook_size = 8192;               // K
  int64_t conv_kernel = 11;  // side of the conv-shaped mask, odd, at most grid_width
  std::string conv_layers =
      "";  // decoder blocks with that mask: "" none, "all", or a list "0 2 11"
};

/// Calls visitor(name, field) once for each field. JSON, printing and comparison are written on top of this list.
template <class AnyConfig, class Visitor>
void visit_fields(AnyConfig& c, Visitor&& visitor) {
  const auto visit = [&visitor](const char* name, auto& field) {
    visitor(std::string(name), field);
  };
  visit("text_depth", c.text_depth);
  visit("text_vocabulary", c.text_vocabulary);
  visit("max_text_tokens", c.max_text_tokens);
  visit("classes", c.classes);
  visit("depth", c.depth);
  visit("width", c.width);
  visit("heads", c.heads);
  visit("hidden", c.hidden);
  visit("activation", c.activation);
  visit("attention_output", c.attention_output);
  visit("grid_height", c.grid_height);
  visit("grid_width", c.grid_width);
  visit("codebook_size", c.codebook_size);
  visit("conv_kernel", c.conv_kernel);
  visit("conv_layers", c.conv_layers);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const Config& config);

/// The decoder blocks that have the conv-shaped mask, one flag a block.
/// throws   Error(kUsage) when conv_layers cannot be read
std::vector<bool> conv_blocks(const Config& config);

/// Parti's sizes: 32x32 tokens, 16,000 pieces, 128 text tokens.
/// source   Yu et al. 2022, arXiv:2206.10789, Table 1
Config parti_350m();
Config parti_750m();
Config parti_3b();
Config parti_20b();

/// VIM's sizes: 32x32 tokens, dense attention.
/// source   Yu et al. 2021, arXiv:2110.04627, Table 2
Config vim_base();
Config vim_large();

/// What assets/ holds: 16x16 tokens of lexel-128.
Config parti_lexel_128();
/// The small one for Fashion-MNIST's ten classes.
Config vim_fashion();

/// The names that preset() knows.
std::vector<std::string> preset_names();

/// A preset by its name on the command line: "parti-350m", "vim-base", "parti-lexel-128", ...
/// throws   Error(kUsage) listing the names
Config preset(const std::string& name);

}  // namespace lexel::ar
