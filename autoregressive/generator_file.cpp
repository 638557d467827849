#include "autoregressive/generator_file.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/fields_json.h"
#include "tokenizers/io/model_tensors.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel::ar {
namespace {

/// lexel.config of the file: the model's, and which picture tokenizer it belongs to.
struct FileConfig {
  Config model;
  std::string codebook_fingerprint, tokenizer_name;
};

template <class AnyFileConfig, class Visitor,
          class = std::enable_if_t<std::is_same_v<std::remove_const_t<AnyFileConfig>, FileConfig>>>
void visit_fields(AnyFileConfig& c, Visitor&& visitor) {
  visit_fields(c.model, visitor);
  visitor(std::string("codebook_fingerprint"), c.codebook_fingerprint);
  visitor(std::string("tokenizer_name"), c.tokenizer_name);
}

bool may_be_absent(const FileConfig& config, const std::string& field) {
  return may_be_absent(config.model, field);
}

void validate(const FileConfig& config) {
  validate(config.model);
  const std::string& hex = config.codebook_fingerprint;
  check_arg(hex.size() == 64 && hex.find_first_not_of("0123456789abcdef") == std::string::npos,
            "ar::validate", "codebook_fingerprint: expected 64 hex digits, got \"", hex, "\"");
  // It is printed in messages.
  const std::string& name = config.tokenizer_name;
  check_arg(name.size() <= 255 && std::none_of(name.begin(), name.end(),
                                               [](unsigned char c) { return c < 32 || c == 127; }),
            "ar::validate", "tokenizer_name: expected at most 255 bytes of one line, got ",
            name.size(), " bytes");
}

const char* kind_of(const Config& config) { return config.text_depth > 0 ? "parti" : "vim"; }

/// What is stored in fewer bits: matrices and tables, not positions and starts, which are few.
bool is_matrix(const Parameter& parameter) {
  return parameter.shape.size() == 2 && parameter.name.ends_with(".weight");
}

at::ScalarType dtype_of(Stored stored) {
  if (stored == Stored::kInt8) return at::kChar;
  return stored == Stored::kBFloat16 ? at::kBFloat16 : at::kFloat;
}

}  // namespace

Stored parse_stored(const std::string& name) {
  if (name == "fp32") return Stored::kFloat32;
  if (name == "bf16") return Stored::kBFloat16;
  check(name == "int8", ErrorKind::kUsage, "--weights: expected fp32, bf16 or int8, got '", name,
        "'");
  return Stored::kInt8;
}

ModelFile generator_file(const Generator& generator, Stored stored, const std::string& provenance,
                         const std::string& license) {
  const Config& config = generator.model.config;
  const FileConfig file_config{config, generator.codebook_fingerprint, generator.tokenizer_name};
  validate(file_config);
  check_arg((generator.text != nullptr) == (config.text_depth > 0), "generator_file",
            "expected a text tokenizer just where the model reads text, got ",
            generator.text != nullptr ? "one" : "none");
  ModelFile file;
  file.kind = kind_of(config);
  file.config = fields_json::write(file_config);
  file.preprocess = "{}";
  file.provenance = provenance;
  file.license = license;
  if (generator.text != nullptr) {
    check_arg(generator.text->vocabulary_size() == config.text_vocabulary, "generator_file",
              "expected a text tokenizer of ", config.text_vocabulary, " pieces, got ",
              generator.text->vocabulary_size());
    file.tensors[kTextTokenizerTensor] = text_tokenizer_tensor(*generator.text);
  }
  Model view = generator.model;  // its tensors share the model's memory
  ParameterList matrices, rest;
  for (const Parameter& parameter : parameters(view)) {
    (is_matrix(parameter) ? matrices : rest).push_back(parameter);
  }
  file.tensors.merge(store_parameters(matrices, dtype_of(stored)));
  file.tensors.merge(store_parameters(rest, at::kFloat));
  return file;
}

Generator read_generator(const ModelFile& file, const std::string& name, at::Device device) {
  check(file.kind == "parti" || file.kind == "vim", ErrorKind::kUnsupported, name,
        ": expected a model of kind parti or vim, got \"", file.kind, "\"");
  const auto config = fields_json::read<FileConfig>(file.config, name);
  check(file.kind == kind_of(config.model), ErrorKind::kBadData, name, ": the config is of a ",
        kind_of(config.model), ", the file's kind is ", file.kind);
  Generator generator;
  generator.codebook_fingerprint = config.codebook_fingerprint;
  generator.tokenizer_name = config.tokenizer_name;
  generator.model = model_layout(config.model);

  std::map<std::string, at::Tensor> tensors = file.tensors;
  if (config.model.text_depth > 0) {
    generator.text = take_text_tokenizer(tensors, config.model.text_vocabulary, name);
  }
  read_parameters(parameters(generator.model), std::move(tensors), name, device);
  return generator;
}

Generator load_generator(const std::string& path, at::Device device) {
  return read_generator(read_model_file(path), path, device);
}

}  // namespace lexel::ar
