#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "tokenizers/io/config_json.h"
#include "tokenizers/io/token_check.h"
#include "tokenizers/io/token_file.h"

namespace lexel {
namespace {

using nlohmann::ordered_json;

std::string as_text(const TokenFile& file) {
  std::string out;
  for (const TokenizedPicture& picture : file.pictures) {
    const at::Tensor ids = picture.tokens.contiguous();
    const int32_t* id = ids.const_data_ptr<int32_t>();
    for (int64_t i = 0; i < ids.numel(); ++i) {
      if (i > 0) out += ' ';
      out += std::to_string(id[i]);
    }
    out += '\n';
  }
  return out;
}

std::string as_json(const TokenFile& file) {
  ordered_json pictures = ordered_json::array();
  for (const TokenizedPicture& picture : file.pictures) {
    ordered_json tiles = ordered_json::array();
    for (int64_t t = 0; t < picture.tokens.size(0); ++t) {
      const at::Tensor ids = picture.tokens.select(0, t).contiguous();
      const int32_t* id = ids.const_data_ptr<int32_t>();
      tiles.push_back(std::vector<int32_t>(id, id + ids.numel()));
    }
    pictures.push_back({{"name", picture.name},
                        {"width", picture.layout.width},
                        {"height", picture.layout.height},
                        {"columns", picture.layout.columns},
                        {"rows", picture.layout.rows},
                        {"tokens", std::move(tiles)}});
  }
  ordered_json all = {{"tokenizer_kind", file.tokenizer_kind},
                      {"model_name", file.model_name},
                      {"codebook_fingerprint", file.codebook_fingerprint},
                      {"codebook_size", file.codebook_size},
                      {"grid_height", file.grid_height},
                      {"grid_width", file.grid_width},
                      {"preprocess", ordered_json::parse(to_json(file.preprocess))}};
  if (!file.layer_sides.empty()) all["layer_sides"] = file.layer_sides;
  all["pictures"] = std::move(pictures);
  return all.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

/// NumPy's format 1.0: magic, length of the header, the header padded to 64 bytes, the values.
std::string as_npy(const TokenFile& file) {
  const bool narrow = file.codebook_size <= 65536;
  int64_t columns = file.tokens();
  if (!file.pictures.empty()) columns = file.pictures[0].tokens.numel();
  std::string values;
  for (const TokenizedPicture& picture : file.pictures) {
    check_arg(picture.tokens.numel() == columns, "format_tokens",
              "npy: expected pictures of as many tokens each, got ", columns, " and ",
              picture.tokens.numel(), " (", picture.name, ")");
    const at::Tensor ids = picture.tokens.to(narrow ? at::kUInt16 : at::kInt).contiguous();
    values.append(static_cast<const char*>(ids.const_data_ptr()), ids.nbytes());
  }
  std::string header =
      concat("{'descr': '", narrow ? "<u2" : "<i4", "', 'fortran_order': False, 'shape': (",
             file.pictures.size(), ", ", columns, "), }");
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 255);
  out += static_cast<char>(header.size() >> 8);
  return out + header + values;
}

}  // namespace

std::string format_tokens(const TokenFile& file, const std::string& format) {
  check_token_file(file);
  if (format == "text") return as_text(file);
  if (format == "json") return as_json(file);
  check_arg(format == "npy", "format_tokens", "expected npy, json or text, got \"", format, "\"");
  return as_npy(file);
}

}  // namespace lexel
