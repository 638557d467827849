#include "tokenizers/io/token_file.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <zlib.h>

#include "kernels/check.h"
#include "tokenizers/image_tokenizer.h"
#include "tokenizers/io/config_json.h"
#include "tokenizers/io/fields_json.h"
#include "tokenizers/io/safetensors.h"
#include "tokenizers/io/token_check.h"

namespace lexel {
namespace {

/// The part of a TokenFile that is lexel.config.
struct TokenConfig {
  std::string tokenizer_kind, codebook_fingerprint, model_name;
  int64_t codebook_size = 0, grid_height = 0, grid_width = 0;
};

template <class AnyConfig, class Visitor>
requires std::is_same_v<std::remove_const_t<AnyConfig>, TokenConfig>
void visit_fields(AnyConfig& c, Visitor&& visitor) {
  visitor(std::string("tokenizer_kind"), c.tokenizer_kind);
  visitor(std::string("codebook_fingerprint"), c.codebook_fingerprint);
  visitor(std::string("model_name"), c.model_name);
  visitor(std::string("codebook_size"), c.codebook_size);
  visitor(std::string("grid_height"), c.grid_height);
  visitor(std::string("grid_width"), c.grid_width);
}

void validate(const TokenConfig& c) {
  const auto in_range = [](const char* field, int64_t value, int64_t high) {
    check_arg(value >= 1 && value <= high, "token file", field, ": expected 1 to ", high, ", got ",
              value);
  };
  in_range("codebook_size", c.codebook_size, INT32_MAX);
  in_range("grid_height", c.grid_height, 65536);
  in_range("grid_width", c.grid_width, 65536);
}

/// The sides of a pyramid's layers can be those of this grid.
void check_sides(const std::vector<int64_t>& sides, int64_t grid_height, int64_t grid_width) {
  check_arg(sides.size() <= 16, "token file", "expected at most 16 layers, got ", sides.size());
  for (const int64_t side : sides) {
    check_arg(side >= 1 && side <= std::min(grid_height, grid_width), "token file",
              "expected layers with sides of 1 to ", std::min(grid_height, grid_width), ", got ",
              side);
  }
}

TokenConfig config_of(const TokenFile& file) {
  return {file.tokenizer_kind, file.codebook_fingerprint, file.model_name,
          file.codebook_size,  file.grid_height,          file.grid_width};
}

/// ids  int32, contiguous
int64_t checksum(const at::Tensor& ids) {
  return static_cast<int64_t>(
      ::crc32_z(0, static_cast<const Bytef*>(ids.const_data_ptr()), ids.nbytes()));
}

void check_format(const SafetensorsFile& source) {
  const std::string kind = required_metadata(source, "lexel.kind", "a Lexel token file");
  check(kind == "tokens", ErrorKind::kBadData, source.name(),
        ": expected tokens, got a file of kind \"", kind, "\"");
  const std::string format = required_metadata(source, "lexel.format", "a Lexel token file");
  int version = 0;
  const auto parsed = std::from_chars(format.data(), format.data() + format.size(), version);
  check(parsed.ec == std::errc() && parsed.ptr == format.data() + format.size() && version >= 1,
        ErrorKind::kBadData, source.name(), ": lexel.format: expected a version, got \"", format,
        "\"");
  check(version <= kTokenFormat, ErrorKind::kUnsupported, source.name(), ": token format ", version,
        " is newer than this program, which reads up to ", kTokenFormat);
}

/// A flat JSON list of the metadata.
nlohmann::json parse_list(const SafetensorsFile& source, const std::string& key) {
  const auto flat = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    return depth < 2;
  };
  auto json = nlohmann::json::parse(required_metadata(source, key, "a Lexel token file"), flat,
                                    /*allow_exceptions=*/false);
  check(json.is_array(), ErrorKind::kBadData, source.name(), ": ", key, " is not a list");
  return json;
}

std::vector<std::string> parse_texts(const SafetensorsFile& source, const std::string& key) {
  std::vector<std::string> texts;
  for (const auto& text : parse_list(source, key)) {
    check(text.is_string(), ErrorKind::kBadData, source.name(), ": ", key, ": expected text, got ",
          text.type_name());
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

/// Captions and classes of the pictures, where the file has them.
void read_labels(const SafetensorsFile& source, TokenFile& file) {
  const auto one_each = [&](const char* key, size_t count) {
    check(count == file.pictures.size(), ErrorKind::kBadData, source.name(), ": ", key,
          ": expected one of each of ", file.pictures.size(), " pictures, got ", count);
  };
  if (source.metadata().count("lexel.captions") > 0) {
    const auto captions = parse_texts(source, "lexel.captions");
    one_each("lexel.captions", captions.size());
    for (size_t k = 0; k < captions.size(); ++k) file.pictures[k].caption = captions[k];
  }
  if (source.metadata().count("lexel.classes") > 0) {
    const auto classes = parse_list(source, "lexel.classes");
    one_each("lexel.classes", classes.size());
    for (size_t k = 0; k < classes.size(); ++k) {
      check(classes[k].is_number_integer() && classes[k] >= -1 && classes[k] <= INT32_MAX,
            ErrorKind::kBadData, source.name(), ": lexel.classes: expected whole numbers from -1");
      file.pictures[k].label = classes[k].get<int64_t>();
    }
  }
}

/// The layers of a pyramid, where the file has them.
void read_sides(const SafetensorsFile& source, TokenFile& file) {
  if (source.metadata().count("lexel.layers") == 0) return;
  for (const auto& side : parse_list(source, "lexel.layers")) {
    check(side.is_number_integer() && side >= 1 && side <= 65536, ErrorKind::kBadData,
          source.name(), ": lexel.layers: expected sides from 1 to 65536");
    file.layer_sides.push_back(side.get<int64_t>());
  }
  check(!file.layer_sides.empty(), ErrorKind::kBadData, source.name(), ": lexel.layers is empty");
  try {
    check_sides(file.layer_sides, file.grid_height, file.grid_width);
  } catch (const Error& error) {  // from a file it is bad data, not a wrong argument
    fail(ErrorKind::kBadData, source.name(), ": ", error.what());
  }
}

/// A tensor whose shape and dtype the header of the file already tells, before memory is taken.
at::Tensor tensor_of(const SafetensorsFile& source, const std::string& key, at::ScalarType dtype,
                     const std::vector<int64_t>& shape) {
  const auto found = source.entries().find(key);
  check(found != source.entries().end(), ErrorKind::kBadData, source.name(), ": tensor \"", key,
        "\" is missing");
  check(found->second.dtype == dtype && found->second.shape == shape, ErrorKind::kBadData,
        source.name(), ": tensor \"", key, "\": expected ", dtype, " of shape ",
        at::IntArrayRef(shape), ", got ", found->second.dtype, " of shape ",
        at::IntArrayRef(found->second.shape));
  return source.tensor(key);
}

/// All ids as (T, N) int32.
at::Tensor read_ids(const SafetensorsFile& source, const TokenFile& file) {
  const auto found = source.entries().find("tokens");
  check(found != source.entries().end() && found->second.shape.size() == 2, ErrorKind::kBadData,
        source.name(), ": expected tensor \"tokens\" of shape (tiles, tokens)");
  const at::ScalarType dtype = file.codebook_size <= 65536 ? at::kUInt16 : at::kInt;
  return tensor_of(source, "tokens", dtype, {found->second.shape[0], file.tokens()}).to(at::kInt);
}

void check_ids(const TokenizedPicture& picture, int64_t codebook_size, int64_t wanted_checksum,
               const std::string& name) {
  const int64_t low = picture.tokens.min().item<int64_t>(),
                high = picture.tokens.max().item<int64_t>();
  check(low >= 0 && high < codebook_size, ErrorKind::kBadData, name, ": picture \"", picture.name,
        "\": expected ids in 0 to ", codebook_size - 1, ", got ", low < 0 ? low : high);
  check(checksum(picture.tokens) == wanted_checksum, ErrorKind::kBadData, name, ": picture \"",
        picture.name, "\": its checksum does not match, the tokens are damaged");
}

}  // namespace

void check_token_file(const TokenFile& file) {
  validate(config_of(file));
  validate(file.preprocess);
  check_sides(file.layer_sides, file.grid_height, file.grid_width);
  const int64_t N = file.tokens();
  for (const TokenizedPicture& picture : file.pictures) {
    const Layout& layout = picture.layout;
    check_arg(layout == make_layout(layout.width, layout.height, file.preprocess), "token file",
              "picture \"", picture.name, "\": its layout is not that of ", layout.width, " x ",
              layout.height, " pixels");
    const at::Tensor& ids = picture.tokens;
    check_arg(ids.defined() && ids.scalar_type() == at::kInt && ids.is_cpu() && ids.dim() == 2 &&
                  ids.size(0) == layout.columns * layout.rows && ids.size(1) == N,
              "token file", "picture \"", picture.name, "\": expected (",
              layout.columns * layout.rows, ", ", N, ") int32 tokens, got ",
              ids.defined() ? concat(ids.scalar_type(), " of shape ", ids.sizes()) : "none");
    const int64_t low = ids.min().item<int64_t>(), high = ids.max().item<int64_t>();
    check_arg(low >= 0 && high < file.codebook_size, "token file", "picture \"", picture.name,
              "\": expected ids in 0 to ", file.codebook_size - 1, ", got ", low < 0 ? low : high);
  }
}

int64_t TokenFile::tokens() const { return tokens_of_tile(grid_height, grid_width, layer_sides); }

TokenFile empty_token_file(const TokenizerInfo& info, int64_t layers) {
  TokenFile file;
  file.tokenizer_kind = info.kind;
  file.codebook_fingerprint = info.codebook_fingerprint;
  file.model_name = info.name;
  file.codebook_size = info.codebook_size;
  file.grid_height = info.grid_height;
  file.grid_width = info.grid_width;
  file.preprocess = info.preprocess;
  file.layer_sides = info.layer_sides;
  return layers == 0 ? file : first_layers(file, layers);
}

TokenFile first_layers(const TokenFile& file, int64_t layers) {
  check_arg(!file.layer_sides.empty(), "layers", "expected a model with layers, got ",
            file.model_name, " of kind ", file.tokenizer_kind);
  const auto all = static_cast<int64_t>(file.layer_sides.size());
  check_arg(layers >= 1 && layers <= all, "layers", "expected 1 to ", all, ", got ", layers);
  TokenFile result = file;
  result.layer_sides.resize(static_cast<size_t>(layers));
  for (TokenizedPicture& picture : result.pictures) {
    picture.tokens = picture.tokens.narrow(1, 0, result.tokens()).contiguous();
  }
  return result;
}

TokenFile read_token_file(const std::string& path) {
  const SafetensorsFile source(path);
  check_format(source);
  const auto config = fields_json::read<TokenConfig>(
      required_metadata(source, "lexel.config", "a Lexel token file"), path);
  TokenFile file{config.tokenizer_kind,
                 config.codebook_fingerprint,
                 config.model_name,
                 config.codebook_size,
                 config.grid_height,
                 config.grid_width,
                 preprocess_from_json(
                     required_metadata(source, "lexel.preprocess", "a Lexel token file"), path),
                 {}};
  read_sides(source, file);
  const std::vector<std::string> names = parse_texts(source, "lexel.names");
  const auto P = static_cast<int64_t>(names.size());
  const at::Tensor ids = read_ids(source, file);  // (T, N)
  const at::Tensor offsets = tensor_of(source, "offsets", at::kLong, {P + 1});
  const at::Tensor sizes = tensor_of(source, "sizes", at::kLong, {P, 2});
  const at::Tensor checksums = tensor_of(source, "checksums", at::kLong, {P});
  check(source.entries().size() == 4, ErrorKind::kBadData, path, ": expected 4 tensors, got ",
        source.entries().size());

  const int64_t* row = offsets.const_data_ptr<int64_t>();
  const int64_t* size = sizes.const_data_ptr<int64_t>();
  check(row[0] == 0 && row[P] == ids.size(0), ErrorKind::kBadData, path, ": offsets go from ",
        row[0], " to ", row[P], ", expected 0 to ", ids.size(0));
  for (int64_t k = 0; k < P; ++k) {
    TokenizedPicture picture;
    picture.name = names[static_cast<size_t>(k)];
    try {
      picture.layout = make_layout(size[2 * k], size[2 * k + 1], file.preprocess);
    } catch (const Error& error) {
      fail(ErrorKind::kBadData, path, ": picture \"", picture.name, "\": ", error.what());
    }
    const int64_t tiles = picture.layout.columns * picture.layout.rows;
    // Compared without a sum, so that no offset can overflow; the rows stay inside (T, N).
    check(row[k] <= ids.size(0) && tiles <= ids.size(0) - row[k] && row[k + 1] == row[k] + tiles,
          ErrorKind::kBadData, path, ": picture \"", picture.name, "\": expected ", tiles,
          " tiles from row ", row[k], ", got rows up to ", row[k + 1], " of ", ids.size(0));
    picture.tokens = ids.narrow(0, row[k], tiles);
    check_ids(picture, file.codebook_size, checksums.const_data_ptr<int64_t>()[k], path);
    file.pictures.push_back(std::move(picture));
  }
  read_labels(source, file);
  return file;
}

void write_token_file(const std::string& path, const TokenFile& file) {
  check_token_file(file);
  const auto P = static_cast<int64_t>(file.pictures.size());
  const at::Tensor offsets = at::empty({P + 1}, at::kLong), sizes = at::empty({P, 2}, at::kLong),
                   checksums = at::empty({P}, at::kLong);
  int64_t* row = offsets.data_ptr<int64_t>();
  int64_t* size = sizes.data_ptr<int64_t>();
  auto names = nlohmann::json::array(), captions = names, classes = names;
  bool any_caption = false, any_class = false;
  std::vector<at::Tensor> ids = {at::empty({0, file.tokens()}, at::kInt)};
  *row = 0;
  for (int64_t k = 0; k < P; ++k) {
    const TokenizedPicture& picture = file.pictures[static_cast<size_t>(k)];
    row[k + 1] = row[k] + picture.tokens.size(0);
    size[2 * k] = picture.layout.width;
    size[2 * k + 1] = picture.layout.height;
    checksums.data_ptr<int64_t>()[k] = checksum(picture.tokens.contiguous());
    names.push_back(picture.name);
    captions.push_back(picture.caption);
    classes.push_back(picture.label);
    any_caption = any_caption || !picture.caption.empty();
    any_class = any_class || picture.label >= 0;
    ids.push_back(picture.tokens);
  }
  const at::ScalarType dtype = file.codebook_size <= 65536 ? at::kUInt16 : at::kInt;
  const auto text_of = [](const nlohmann::json& list) {
    return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  std::map<std::string, std::string> metadata = {
      {"lexel.format", std::to_string(kTokenFormat)},
      {"lexel.kind", "tokens"},
      {"lexel.config", fields_json::write(config_of(file))},
      {"lexel.preprocess", to_json(file.preprocess)},
      {"lexel.names", text_of(names)}};
  if (any_caption) metadata["lexel.captions"] = text_of(captions);
  if (any_class) metadata["lexel.classes"] = text_of(classes);
  if (!file.layer_sides.empty()) metadata["lexel.layers"] = text_of(file.layer_sides);
  write_safetensors(path, metadata,
                    {{"tokens", at::cat(ids).to(dtype)},
                     {"offsets", offsets},
                     {"sizes", sizes},
                     {"checksums", checksums}});
}

void check_same_tokenizer(const TokenFile& file, const TokenizerInfo& info) {
  check(file.codebook_fingerprint == info.codebook_fingerprint, ErrorKind::kBadData,
        "the tokens were made by another model: ", file.model_name, " (codebook ",
        file.codebook_fingerprint.substr(0, 12), "), this one is ", info.name, " (codebook ",
        info.codebook_fingerprint.substr(0, 12), ")");
  const auto same = [&](const char* what, int64_t theirs, int64_t ours) {
    check(theirs == ours, ErrorKind::kBadData, "the tokens of ", file.model_name, " have a ", what,
          " of ", theirs, ", those of ", info.name, " one of ", ours);
  };
  same("codebook size", file.codebook_size, info.codebook_size);
  same("grid height", file.grid_height, info.grid_height);
  same("grid width", file.grid_width, info.grid_width);
  same("picture size", file.preprocess.image_size, info.image_size);
  const size_t layers = file.layer_sides.size();
  check(layers <= info.layer_sides.size() && (layers > 0 || info.layer_sides.empty()) &&
            std::equal(file.layer_sides.begin(), file.layer_sides.end(), info.layer_sides.begin()),
        ErrorKind::kBadData, "the tokens of ", file.model_name, " have layers of the sides ",
        at::IntArrayRef(file.layer_sides), ", which are not the first ones of ", info.name, ": ",
        at::IntArrayRef(info.layer_sides));
}

}  // namespace lexel
