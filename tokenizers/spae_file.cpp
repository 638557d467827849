#include "tokenizers/spae_file.h"

#include <ATen/ops/empty.h>
#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/config_json.h"
#include "tokenizers/io/model_tensors.h"
#include "tokenizers/io/sha256.h"
#include "tokenizers/utf8.h"

namespace lexel {
namespace {

constexpr const char* kKind = "spae";
constexpr const char* kText = "words.text";
constexpr const char* kIds = "words.ids";
constexpr const char* kCodes = "words.codes";
constexpr const char* kGuide = "guide.";  // another's: left alone
constexpr int64_t kMaxTextBytes = 64 << 20;

/// The tensors with the words: what the file has beside the network's parameters.
struct WordTensors {
  at::Tensor text, ids, codes;
};

/// Takes them out of a file's tensors.
WordTensors take_words(std::map<std::string, at::Tensor>& tensors, const std::string& name) {
  const auto take = [&](const char* key) {
    const auto found = tensors.extract(key);
    check(!found.empty(), ErrorKind::kBadData, name, ": tensor \"", key, "\" is missing");
    return found.mapped();
  };
  return {take(kText), take(kIds), take(kCodes)};
}

/// The values in half precision where that changes none of them, in single precision otherwise.
at::Tensor shortest(const at::Tensor& values) {
  const at::Tensor single = values.to(at::kFloat).contiguous();
  const at::Tensor half = single.to(at::kHalf);
  return half.to(at::kFloat).equal(single) ? half : single;
}

/// The parameters but for the words' codes, which no training changes and no rounding may.
ParameterList network_of(spae::Model& model) {
  ParameterList list = spae::parameters(model);
  std::erase_if(list, [](const Parameter& parameter) { return parameter.name == kCodes; });
  return list;
}

/// The codebook without semantics, checked.
spae::LexicalCodebook codebook_of(const WordTensors& tensors, const std::string& name,
                                  const spae::Config& config) {
  spae::LexicalCodebook codebook;
  codebook.words = words_of(tensors.text, name);
  check(static_cast<int64_t>(codebook.words.size()) == config.num_words, ErrorKind::kBadData, name,
        ": expected ", config.num_words, " words, got ", codebook.words.size());
  const at::Tensor& codes = tensors.codes;
  check(codes.is_floating_point() && codes.dim() == 2 && codes.size(0) == config.num_words &&
            codes.size(1) == config.code_width,
        ErrorKind::kBadData, name, ": tensor \"", kCodes, "\": expected floats of shape [",
        config.num_words, ", ", config.code_width, "], got ", codes.scalar_type(), " of shape ",
        codes.sizes());
  codebook.ids = tensors.ids.clone();
  codebook.codes = codes.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  try {
    spae::validate(codebook);
  } catch (const Error& error) {  // from a file it is bad data, not a wrong argument
    fail(ErrorKind::kBadData, name, ": ", error.what());
  }
  codebook.fingerprint = lexical_fingerprint(codebook);
  return codebook;
}

}  // namespace

std::string lexical_fingerprint(const spae::LexicalCodebook& codebook) {
  const at::Tensor codes = codebook.codes.detach().cpu().to(at::kFloat).contiguous(),
                   ids = codebook.ids.cpu().to(at::kLong).contiguous();
  std::string content = concat("lexel-words ", codes.size(0), " ", codes.size(1), "\n");
  for (const std::string& word : codebook.words) content += word + "\n";
  content.append(static_cast<const char*>(ids.const_data_ptr()), ids.nbytes());
  content.append(static_cast<const char*>(codes.const_data_ptr()), codes.nbytes());
  return sha256(content.data(), content.size());
}

ModelFile spae_file(const spae::Model& model, const Preprocess& preprocess,
                    const std::string& provenance, const std::string& license,
                    at::ScalarType stored) {
  check_arg(preprocess.image_size == model.config.image_size, "spae_file", "expected pictures of ",
            model.config.image_size, " pixels, got ", preprocess.image_size);
  spae::validate(model.codebook);
  ModelFile file;
  file.kind = kKind;
  file.config = to_json(model.config);
  file.preprocess = to_json(preprocess);
  file.provenance = provenance;
  file.license = license;
  spae::Model view = model;  // its tensors share the model's memory
  file.tensors = store_parameters(network_of(view), stored);
  file.tensors.emplace(kCodes, shortest(model.codebook.codes.detach().cpu()));
  const std::string words = nlohmann::json(model.codebook.words).dump();
  const at::Tensor text = at::empty({static_cast<int64_t>(words.size())}, at::kByte);
  std::memcpy(text.mutable_data_ptr(), words.data(), words.size());
  file.tensors.emplace(kText, text);
  file.tensors.emplace(kIds, model.codebook.ids.cpu().to(at::kLong));
  return file;
}

spae::Model spae_model(const ModelFile& file, const std::string& name, at::Device device) {
  check(file.kind == kKind, ErrorKind::kUnsupported, name, ": expected a model of kind ", kKind,
        ", got \"", file.kind, "\"");
  spae::Model model = spae::model_layout(spae_config_from_json(file.config, name));
  const Preprocess preprocess = preprocess_from_json(file.preprocess, name);
  check(preprocess.image_size == model.config.image_size, ErrorKind::kBadData, name,
        ": preprocess gives ", preprocess.image_size, " pixels to a model of ",
        model.config.image_size);
  std::map<std::string, at::Tensor> tensors = file.tensors;
  std::erase_if(tensors, [](const auto& entry) { return entry.first.starts_with(kGuide); });
  model.codebook = codebook_of(take_words(tensors, name), name, model.config);
  read_parameters(network_of(model), std::move(tensors), name, device);
  check(!model.semantic_path.rows.defined() ||
            spae::are_rows(model.semantic_path.rows, model.config.num_words),
        ErrorKind::kBadData, name, ": tensor \"semantic_path.rows\": expected rows of ",
        model.config.num_words, " words, each once");
  model.codebook.codes = model.codebook.codes.to(device);
  return model;
}

std::vector<std::string> words_of(const at::Tensor& text, const std::string& name) {
  check(text.scalar_type() == at::kByte && text.dim() == 1 && text.numel() <= kMaxTextBytes,
        ErrorKind::kBadData, name, ": tensor \"", kText, "\": expected up to ", kMaxTextBytes,
        " bytes of text, got ", text.scalar_type(), " of shape ", text.sizes());
  const at::Tensor bytes = text.contiguous();
  const std::string json(static_cast<const char*>(bytes.const_data_ptr()),
                         static_cast<size_t>(bytes.numel()));
  check(!first_invalid_utf8(json).has_value(), ErrorKind::kBadData, name, ": tensor \"", kText,
        "\" is not UTF-8");
  const auto flat = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    return depth < 2;
  };
  const auto list = nlohmann::json::parse(json, flat, /*allow_exceptions=*/false);
  const bool texts = list.is_array() && std::all_of(list.begin(), list.end(), [](const auto& word) {
                       return word.is_string();
                     });
  check(texts, ErrorKind::kBadData, name, ": tensor \"", kText, "\" is not a JSON array of texts");
  return list.get<std::vector<std::string>>();
}

}  // namespace lexel
