#include "autoregressive/generator_file.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <algorithm>
#include <cmath>
#include <set>

#include "kernels/check.h"
#include "kernels/int8_rounding.h"
#include "tokenizers/io/fields_json.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel::ar {
namespace {

constexpr const char* kScales = ".scales";

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

void check_finite(const at::Tensor& tensor, const std::string& prefix, const std::string& key) {
  check(at::isfinite(tensor).all().item<bool>(), ErrorKind::kBadData, prefix, "tensor \"", key,
        "\" holds a value that is not finite");
}

struct Int8Rows {
  at::Tensor values;  // (O, I) int8
  at::Tensor scales;  // (O) float32
};

/// As kernels::pack_weights rounds.
Int8Rows to_int8_rows(const at::Tensor& matrix) {
  const int64_t rows = matrix.size(0), width = matrix.size(1);
  const Int8Rows result{at::empty({rows, width}, at::kChar), at::empty({rows}, at::kFloat)};
  const float* const source = matrix.const_data_ptr<float>();
  int8_t* const values = result.values.mutable_data_ptr<int8_t>();
  float* const scales = result.scales.mutable_data_ptr<float>();
  for (int64_t row = 0; row < rows; ++row) {
    const float* const from = source + row * width;
    float largest = 0.0F;
    for (int64_t i = 0; i < width; ++i) largest = std::max(largest, std::abs(from[i]));
    scales[row] = kernels::int8_scale(largest);
    for (int64_t i = 0; i < width; ++i) {
      values[row * width + i] = kernels::to_int8(from[i], scales[row]);
    }
  }
  return result;
}

/// The tensors of a file, of which each may be asked for once.
class Shelf {
 public:
  Shelf(const ModelFile& file, const std::string& name) : file_(file), name_(name) {}

  bool has(const std::string& key) const { return file_.tensors.count(key) == 1; }

  const at::Tensor& take(const std::string& key, const std::vector<int64_t>& shape) {
    const auto found = file_.tensors.find(key);
    check(found != file_.tensors.end(), ErrorKind::kBadData, name_, ": tensor \"", key,
          "\" is missing");
    check(found->second.sizes() == at::IntArrayRef(shape), ErrorKind::kBadData, name_,
          ": tensor \"", key, "\": expected shape ", at::IntArrayRef(shape), ", got ",
          found->second.sizes());
    taken_.insert(key);
    return found->second;
  }

  const at::Tensor& take_floats(const std::string& key, const std::vector<int64_t>& shape) {
    const at::Tensor& tensor = take(key, shape);
    check(tensor.is_floating_point(), ErrorKind::kBadData, name_, ": tensor \"", key,
          "\": expected floats, got ", tensor.scalar_type());
    return tensor;
  }

  void check_empty() const {
    for (const auto& entry : file_.tensors) {
      check(taken_.count(entry.first) == 1, ErrorKind::kBadData, name_, ": tensor \"", entry.first,
            "\" is unexpected");
    }
  }

 private:
  const ModelFile& file_;
  const std::string& name_;
  std::set<std::string> taken_;
};

/// A parameter as it lies in the file, checked.
struct StoredParameter {
  at::Tensor values, scales;  // scales undefined: `values` are floats

  at::Tensor widened(at::Device device) const {
    const at::Tensor floats =
        values.to(device, at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
    return scales.defined() ? floats.mul_(scales.to(device, at::kFloat).unsqueeze(1)) : floats;
  }
};

StoredParameter take_parameter(Shelf& shelf, const Parameter& parameter, const std::string& name) {
  const std::string scales = parameter.name + kScales;
  if (!is_matrix(parameter) || !shelf.has(scales)) {
    return {shelf.take_floats(parameter.name, parameter.shape), {}};
  }
  const at::Tensor& values = shelf.take(parameter.name, parameter.shape);
  check(values.scalar_type() == at::kChar, ErrorKind::kBadData, name, ": tensor \"", parameter.name,
        "\": expected int8 beside scales, got ", values.scalar_type());
  return {values, shelf.take_floats(scales, {parameter.shape[0]})};
}

std::shared_ptr<const TextTokenizer> take_text(Shelf& shelf, const ModelFile& file,
                                               const Config& config, const std::string& name) {
  if (config.text_depth == 0) return nullptr;
  const auto found = file.tensors.find(kTextTokenizerTensor);
  check(found != file.tensors.end(), ErrorKind::kBadData, name, ": tensor \"", kTextTokenizerTensor,
        "\" is missing");
  shelf.take(kTextTokenizerTensor, found->second.sizes().vec());
  std::shared_ptr<const TextTokenizer> text =
      text_tokenizer_from_tensor(found->second, name + ": " + kTextTokenizerTensor);
  check(text->vocabulary_size() == config.text_vocabulary, ErrorKind::kBadData, name,
        ": expected a text tokenizer of ", config.text_vocabulary, " pieces, got ",
        text->vocabulary_size());
  return text;
}

}  // namespace

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
  for (const Parameter& parameter : parameters(view)) {
    const at::Tensor value = parameter.tensor->detach().cpu().to(at::kFloat).contiguous();
    at::Tensor& target = file.tensors[parameter.name];
    check_finite(value, "", parameter.name);
    if (!is_matrix(parameter) || stored == Stored::kFloat32) {
      target = value;
    } else if (stored == Stored::kBFloat16) {
      target = value.to(at::kBFloat16);
      check_finite(target, "", parameter.name);
    } else {
      const Int8Rows rows = to_int8_rows(value);
      target = rows.values;
      file.tensors[parameter.name + kScales] = rows.scales;
    }
  }
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

  Shelf shelf(file, name);
  generator.text = take_text(shelf, file, config.model, name);
  const ParameterList list = parameters(generator.model);
  std::vector<StoredParameter> stored;
  for (const Parameter& parameter : list) stored.push_back(take_parameter(shelf, parameter, name));
  shelf.check_empty();
  for (size_t i = 0; i < list.size(); ++i) {
    *list[i].tensor = stored[i].widened(device);
    check_finite(*list[i].tensor, name + ": ", list[i].name);
  }
  return generator;
}

Generator load_generator(const std::string& path, at::Device device) {
  return read_generator(read_model_file(path), path, device);
}

}  // namespace lexel::ar
