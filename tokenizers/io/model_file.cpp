#include "tokenizers/io/model_file.h"

#include <ATen/ops/isfinite.h>
#include <charconv>
#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "tokenizers/io/safetensors.h"
#include "tokenizers/io/sha256.h"

namespace lexel {
namespace {

bool is_json_object(const std::string& text) {
  // accept() is not recursive and builds nothing, so depth and size are harmless.
  const auto first = text.find_first_not_of(" \t\r\n");
  return first != std::string::npos && text[first] == '{' && nlohmann::json::accept(text);
}

ModelFile read_metadata(const SafetensorsFile& source) {
  const std::string format = required_metadata(source, "lexel.format", "a Lexel model file");
  int version = 0;
  const auto parsed = std::from_chars(format.data(), format.data() + format.size(), version);
  check(parsed.ec == std::errc() && parsed.ptr == format.data() + format.size() && version >= 1,
        ErrorKind::kBadData, source.name(), ": lexel.format: expected a version, got \"", format,
        "\"");
  check(version <= kModelFormat, ErrorKind::kUnsupported, source.name(), ": model format ", version,
        " is newer than this program, which reads up to ", kModelFormat);

  ModelFile file;
  file.kind = required_metadata(source, "lexel.kind", "a Lexel model file");
  file.config = required_metadata(source, "lexel.config", "a Lexel model file");
  file.preprocess = required_metadata(source, "lexel.preprocess", "a Lexel model file");
  file.provenance = required_metadata(source, "lexel.provenance", "a Lexel model file");
  file.license = required_metadata(source, "lexel.license", "a Lexel model file");
  for (const auto& [key, text] :
       {std::pair("lexel.config", &file.config), std::pair("lexel.preprocess", &file.preprocess),
        std::pair("lexel.provenance", &file.provenance)}) {
    check(is_json_object(*text), ErrorKind::kBadData, source.name(), ": ", key,
          " is not a JSON object");
  }
  return file;
}

}  // namespace

ModelFile read_model_file(const std::string& path) {
  const SafetensorsFile source(path);
  ModelFile file = read_metadata(source);
  file.tensors = source.tensors();
  for (const auto& [key, tensor] : file.tensors) {
    if (!tensor.is_floating_point()) continue;
    check(at::isfinite(tensor).all().item<bool>(), ErrorKind::kBadData, path, ": tensor \"", key,
          "\" holds a value that is not finite");
  }
  return file;
}

std::string model_fingerprint(const ModelFile& file) {
  std::string content = concat(file.kind, '\n', file.config, '\n', file.preprocess, '\n');
  for (const auto& [key, tensor] : file.tensors) {
    const at::Tensor flat = tensor.contiguous();
    content += concat(key, ' ', flat.scalar_type(), ' ', flat.sizes(), ' ',
                      sha256(flat.const_data_ptr(), flat.nbytes()), '\n');
  }
  return sha256(content.data(), content.size());
}

ModelFileSummary read_model_file_summary(const std::string& path) {
  const SafetensorsFile source(path);
  ModelFileSummary summary;
  summary.file = read_metadata(source);
  summary.bytes = source.bytes();
  for (const auto& [key, entry] : source.entries()) {
    summary.shapes[key] = entry.shape;
    summary.dtypes[key] = entry.dtype_name;
  }
  return summary;
}

void write_model_file(const std::string& path, const ModelFile& file) {
  check_arg(!file.kind.empty(), "write_model_file", "expected a kind, got none");
  for (const auto& [what, text] :
       {std::pair("config", &file.config), std::pair("preprocess", &file.preprocess),
        std::pair("provenance", &file.provenance)}) {
    check_arg(is_json_object(*text), "write_model_file", "expected a JSON object as ", what,
              ", got ", *text);
  }
  write_safetensors(path,
                    {{"lexel.format", std::to_string(kModelFormat)},
                     {"lexel.kind", file.kind},
                     {"lexel.config", file.config},
                     {"lexel.preprocess", file.preprocess},
                     {"lexel.provenance", file.provenance},
                     {"lexel.license", file.license}},
                    file.tensors);
}

}  // namespace lexel
