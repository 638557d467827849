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
  int64_t depth = 12;     // blocks
  int64_t width = 1024;   // D, of the encoder too
  int64_t heads = 16;     // H; D / H is the width of a head
  int64_t hidden = 4096;  // of the feed-forward layers
  std::string activation =
      "gelu";  // of the feed-forward layers: "gelu" (tanh form), "relu", or "geglu": gelu(gate) * value, three matrices
  bool attention_output =
      true;  // the fourth matrix of self-attention; VIM's published count is without it

  // Pictures.
  int64_t grid_height = 32, grid_width = 32;  // tokens
  int64_t codebook_size = 8192;               // K
  int64_t conv_kernel = 11;  // side of the conv-shaped mask, odd, at most grid_width
  std::string conv_layers =
      "";  // decoder blocks with that mask: "" none, "all", or a list "0 2 11"

  // Mixture of experts (moe/README.md) in the feed-forward layer of every other block: 1, 3, ... of both stacks. These fields are
  // not written where they are as here, and may be missing in a file.
  int64_t experts = 0;  // E, of two matrices and `hidden` units each; 0: none
  double capacity_factor =
      1.0;  // an expert takes ceil(factor 2 n / E) of a row's n tokens in a step of learning
  std::string gating = "gshard";  // rules of capacity: "gshard" or "lingvo"
  std::string routing =
      "token";  // by "token", by "task", or "static": `experts` of one task side by side, as task_model() leaves them
  int64_t tasks = 0;  // that routing "task" tells apart, else 0
  double auxiliary_weight =
      0.01;  // of the loss that evens the use of experts; it is 1 a layer where all are used alike
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
  visit("experts", c.experts);
  visit("capacity_factor", c.capacity_factor);
  visit("gating", c.gating);
  visit("routing", c.routing);
  visit("tasks", c.tasks);
  visit("auxiliary_weight", c.auxiliary_weight);
}

/// Whether JSON leaves this field out where it has its default: files from before there were experts lack it.
bool may_be_absent(const Config& config, const std::string& field);

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const Config& config);

/// The decoder blocks that have the conv-shaped mask, one flag a block.
/// throws   Error(kUsage) when conv_layers cannot be read
std::vector<bool> conv_blocks(const Config& config);

/// Whether block i of a stack has experts in the place of its feed-forward layer.
bool has_experts(const Config& config, int64_t block);

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

/// GLaM's sizes with 64 experts, as far as heads that fill the width can have them: decoder alone, 1,024 tokens of 256,000.
/// source   Du et al. 2021, arXiv:2112.06905, Table 4
Config glam_100m_64e();
Config glam_1b7_64e();
Config glam_8b_64e();

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
