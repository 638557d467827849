#include "tokenizers/import.h"

#include <ATen/core/Tensor.h>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "tokenizers/io/mapped_file.h"
#include "tokenizers/io/safetensors.h"
#include "tokenizers/io/sha256.h"
#include "tokenizers/io/torch_checkpoint.h"
#include "tokenizers/key_rules.h"
#include "tokenizers/vit_vqgan_file.h"

namespace lexel {
namespace {

using nlohmann::json;

/// What an importer is given.
struct Checkpoint {
  std::string name;
  TensorMap tensors;
  json config;         // of the metadata; null when there is none
  std::string source;  // of the metadata

  const at::Tensor& at(const std::string& key, int64_t dimensions) const {
    const auto found = tensors.find(key);
    check(found != tensors.end(), ErrorKind::kBadData, name, ": tensor \"", key, "\" is missing");
    check(found->second.dim() == dimensions && found->second.numel() > 0, ErrorKind::kBadData, name,
          ": tensor \"", key, "\": expected ", dimensions, " dimensions, got shape ",
          found->second.sizes());
    return found->second;
  }
};

/// A family of checkpoints: how it is known, what becomes of its keys and of its shapes.
struct Family {
  const char* name;
  const char* signature;  // a tensor that no other family has
  KeyRules rules;
  vqgan::Config (*config)(const Checkpoint& checkpoint, int64_t heads);
  Preprocess preprocess;  // but for its image_size
  const char* license;
};

// --- enhancing-transformers ViTVQ: reference/papers.md A6, reference/checkpoints.md 2.1 ---

const KeyRules kVitvqRules = {
    {"encoder.to_patch_embedding.0.weight", "encoder.patch.weight", Transform::kFlatten},
    {"encoder.to_patch_embedding.0.bias", "encoder.patch.bias"},
    {"encoder.en_pos_embedding", "encoder.positions", Transform::kDropFirstAxis},
    {"decoder.de_pos_embedding", "decoder.positions", Transform::kDropFirstAxis},
    {"*.transformer.layers.*.0.norm.*", "*.blocks.*.attention_norm.*"},
    {"*.transformer.layers.*.0.fn.to_qkv.*", "*.blocks.*.qkv.*"},
    {"*.transformer.layers.*.0.fn.to_out.*", "*.blocks.*.out.*"},
    {"*.transformer.layers.*.1.norm.*", "*.blocks.*.feed_forward_norm.*"},
    {"*.transformer.layers.*.1.fn.net.0.*", "*.blocks.*.up.*"},
    {"*.transformer.layers.*.1.fn.net.2.*", "*.blocks.*.down.*"},
    {"*.transformer.norm.*", "*.norm.*"},
    {"pre_quant.*", "encoder.head.*"},
    {"post_quant.*", "decoder.code.*"},
    {"decoder.to_pixel.1.weight", "decoder.head.weight", Transform::kFlattenTransposed},
    {"decoder.to_pixel.1.bias", "decoder.head.bias", Transform::kRepeatPerPixel},
    {"quantizer.embedding.weight", "quantizer.codebook"},
    {"loss.**", ""},  // LPIPS and the discriminator travel with the model
};

/// One stack: everything but the number of heads follows from the shapes.
vqgan::StackConfig vitvq_stack(const Checkpoint& checkpoint, const std::string& stack,
                               int64_t width, int64_t head_width) {
  const std::string layers = stack + ".transformer.layers.";
  vqgan::StackConfig config;
  config.width = width;
  config.depth = 0;
  while (checkpoint.tensors.count(concat(layers, config.depth, ".0.fn.to_qkv.weight")) == 1) {
    ++config.depth;
  }
  const int64_t inner = checkpoint.at(layers + "0.0.fn.to_qkv.weight", 2).size(0) / 3;
  check_arg(head_width > 0 && inner % head_width == 0, "import", "the ", stack, "'s attention is ",
            inner, " wide, not a multiple of heads of ", head_width, "; give the number of heads");
  config.head_width = head_width;
  config.heads = inner / head_width;
  config.hidden = checkpoint.at(layers + "0.1.fn.net.0.weight", 2).size(0);
  config.activation = "tanh";
  config.qkv_bias = false;
  config.tanh_head = false;
  return config;
}

/// 64 unless the metadata or the caller says otherwise: shapes cannot tell.
int64_t vitvq_head_width(const Checkpoint& checkpoint, int64_t heads) {
  if (heads > 0) {
    const int64_t inner =
        checkpoint.at("encoder.transformer.layers.0.0.fn.to_qkv.weight", 2).size(0) / 3;
    check_arg(inner % heads == 0, "import", "expected a number of heads that divides ", inner,
              ", got ", heads);
    return inner / heads;
  }
  const json::json_pointer key("/params/encoder/dim_head");
  if (!checkpoint.config.is_object() || !checkpoint.config.contains(key)) return 64;
  const json& value = checkpoint.config[key];
  check(value.is_number_unsigned() && value > 0 && value <= 65536, ErrorKind::kBadData,
        checkpoint.name, ": config: params.encoder.dim_head is no width");
  return value.get<int64_t>();
}

vqgan::Config vitvq_config(const Checkpoint& checkpoint, int64_t heads) {
  const at::Tensor& patch = checkpoint.at("encoder.to_patch_embedding.0.weight", 4);
  const int64_t tokens = checkpoint.at("encoder.en_pos_embedding", 3).size(1);
  const auto grid = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(tokens))));
  check(grid * grid == tokens, ErrorKind::kBadData, checkpoint.name,
        ": tensor \"encoder.en_pos_embedding\": expected a square grid of tokens, got ", tokens);
  const at::Tensor& codebook = checkpoint.at("quantizer.embedding.weight", 2);
  const int64_t head_width = vitvq_head_width(checkpoint, heads);

  vqgan::Config config;
  config.patch_size = patch.size(3);
  config.image_size = grid * config.patch_size;
  config.encoder = vitvq_stack(checkpoint, "encoder", patch.size(0), head_width);
  config.decoder =
      vitvq_stack(checkpoint, "decoder", checkpoint.at("post_quant.weight", 2).size(0), head_width);
  config.codebook_size = codebook.size(0);
  config.code_width = codebook.size(1);
  config.positions =
      "sincos";  // their table is stored and never trained; it is loaded, not computed
  config.pixel_center = 0.0;
  return config;
}

const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {"enhancing-transformers ViTVQ", "encoder.to_patch_embedding.0.weight", kVitvqRules,
       vitvq_config, Preprocess{256, "stretch", "bilinear"},
       "unknown: that of the imported weights (the code of enhancing-transformers is MIT)"},
  };
  return all;
}

// --- files ---

/// Tensors under "weights/" alone, if there are any: parity files hold inputs and outputs beside them.
TensorMap weights_only(TensorMap tensors) {
  const std::string prefix = "weights/";
  TensorMap weights;
  for (const auto& [key, tensor] : tensors) {
    if (key.starts_with(prefix)) weights[key.substr(prefix.size())] = tensor;
  }
  return weights.empty() ? tensors : weights;
}

Checkpoint read_checkpoint(const MappedFile& file) {
  const uint8_t first = file.bytes > 0 ? *file.data : 0;
  Checkpoint checkpoint{file.name, {}, {}, {}};
  if (first == 'P' || first == 0x80) {  // a zip file or a pickle
    checkpoint.tensors = read_torch_checkpoint(file.name);
    return checkpoint;
  }
  const SafetensorsFile source(file.name);
  check(source.metadata().count("lexel.kind") == 0, ErrorKind::kUsage, file.name,
        ": is a Lexel file already");
  checkpoint.tensors = weights_only(source.tensors());
  const auto text = [&](const char* key) {
    const auto found = source.metadata().find(key);
    return found == source.metadata().end() ? std::string() : found->second;
  };
  checkpoint.config = json::parse(text("config"), nullptr, /*allow_exceptions=*/false);
  checkpoint.source = text("source");
  return checkpoint;
}

const Family& recognise(const Checkpoint& checkpoint) {
  std::string known;
  for (const Family& family : families()) {
    if (checkpoint.tensors.count(family.signature) == 1) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.name);
  }
  fail(ErrorKind::kUnsupported, checkpoint.name, ": of no known family (", known,
       "); its first tensor is \"",
       checkpoint.tensors.empty() ? "" : checkpoint.tensors.begin()->first, "\"");
}

/// Missing and superfluous tensors and wrong shapes, under the names that the file has.
void check_tensors(const Family& family, const vqgan::Config& config, const TensorMap& tensors,
                   const std::string& name) {
  vqgan::Model model;
  try {
    model = vqgan::model_layout(config);
  } catch (const Error& error) {
    fail(ErrorKind::kBadData, name, ": its shapes make no model: ", error.what());
  }
  TensorMap rest = tensors;
  for (const Parameter& parameter : vqgan::parameters(model)) {
    const auto found = tensors.find(parameter.name);
    const std::string theirs = their_name(family.rules, parameter.name);
    check(found != tensors.end(), ErrorKind::kBadData, name, ": tensor \"", theirs,
          "\" is missing");
    check(found->second.sizes() == at::IntArrayRef(parameter.shape), ErrorKind::kBadData, name,
          ": tensor \"", theirs, "\": expected shape ", at::IntArrayRef(parameter.shape), " as ",
          parameter.name, ", got ", found->second.sizes());
    rest.erase(parameter.name);
  }
  check(rest.empty(), ErrorKind::kBadData, name, ": tensor \"",
        rest.empty() ? "" : their_name(family.rules, rest.begin()->first),
        "\" has no place in this model");
}

}  // namespace

ModelFile import_checkpoint(const std::string& path, int64_t heads) {
  check_arg(heads >= 0, "import", "expected a number of heads, got ", heads);
  const MappedFile source = map_file(path);
  const Checkpoint checkpoint = read_checkpoint(source);
  const Family& family = recognise(checkpoint);
  const vqgan::Config config = family.config(checkpoint, heads);

  const TensorMap tensors = apply_rules(family.rules, checkpoint.tensors, config.patch_size, path);
  check_tensors(family, config, tensors, path);
  Preprocess preprocess = family.preprocess;
  preprocess.image_size = config.image_size;
  const json provenance = {{"imported_from", std::filesystem::path(path).filename().string()},
                           {"sha256", sha256(source.data.get(), source.bytes)},
                           {"family", family.name},
                           {"source", checkpoint.source}};
  vqgan::Model model = vqgan::model_layout(config);
  for (const Parameter& parameter : vqgan::parameters(model)) {
    *parameter.tensor = tensors.at(parameter.name).to(at::kFloat).contiguous();
  }
  return vit_vqgan_file(model, preprocess,
                        provenance.dump(-1, ' ', false, json::error_handler_t::replace),
                        family.license);
}

}  // namespace lexel
