#include "apps/info.h"

#include <ATen/core/Tensor.h>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/machine.h"
#include "apps/spool.h"
#include "apps/txt2img/record.h"
#include "kernels/check.h"
#include "spae/pyramid.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/config_json.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/io/png_text.h"
#include "tokenizers/io/safetensors.h"
#include "tokenizers/io/token_file.h"
#include "tokenizers/spae_file.h"

namespace lexel::cli {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kMaxPictureBytes = int64_t{1} << 30;

std::string human_bytes(int64_t bytes) {
  std::ostringstream out;
  out.precision(3);
  if (bytes < 10'000) {
    out << bytes << " bytes";
  } else if (bytes < 10'000'000) {
    out << static_cast<double>(bytes) / 1e3 << " kB";
  } else {
    out << static_cast<double>(bytes) / 1e6 << " MB";
  }
  return out.str();
}

std::string binary_bytes(int64_t bytes) {
  std::ostringstream out;
  out.precision(4);
  const int shift = bytes < 1 << 20 ? 10 : bytes < 1 << 30 ? 20 : 30;
  out << static_cast<double>(bytes) / static_cast<double>(int64_t{1} << shift)
      << (shift == 10   ? " KiB"
          : shift == 20 ? " MiB"
                        : " GiB");
  return out.str();
}

/// How the codes of a file are used: share of the codebook, and 2^entropy.
struct Usage {
  int64_t used = 0;
  double perplexity = 0.0;
  int64_t tokens = 0;
};

Usage usage(const TokenFile& file) {
  std::vector<int64_t> counts(static_cast<size_t>(file.codebook_size));
  Usage u;
  for (const TokenizedPicture& picture : file.pictures) {
    const at::Tensor flat = picture.tokens.contiguous().reshape({-1});
    const int32_t* ids = flat.const_data_ptr<int32_t>();
    for (int64_t i = 0; i < flat.numel(); ++i) ++counts[static_cast<size_t>(ids[i])];
    u.tokens += flat.numel();
  }
  double entropy = 0.0;  // nats
  for (const int64_t count : counts) {
    if (count == 0) continue;
    ++u.used;
    const double p = static_cast<double>(count) / static_cast<double>(u.tokens);
    entropy -= p * std::log(p);
  }
  u.perplexity = std::exp(entropy);
  return u;
}

/// "1x1, 2x2, 4x4"
std::string explain_sides(const std::vector<int64_t>& sides) {
  std::string out;
  for (const int64_t side : sides) out += concat(out.empty() ? "" : ", ", side, "x", side);
  return out;
}

ordered_json explain_tokens(const std::string& path) {
  const TokenFile file = read_token_file(path);
  const Usage u = usage(file);
  ordered_json first = ordered_json::array();
  for (size_t i = 0; i < std::min<size_t>(5, file.pictures.size()); ++i) {
    const TokenizedPicture& p = file.pictures[i];
    first.push_back(concat(p.name, " (", p.layout.width, "x", p.layout.height, " pixels, ",
                           p.tokens.numel(), " tokens)"));
  }
  const double bits = std::log2(static_cast<double>(file.codebook_size));
  const std::string positions = concat(file.grid_height, "x", file.grid_width);
  const std::string grid = file.layer_sides.empty() ? positions + " tokens"
                                                    : concat(file.tokens(), " tokens in layers of ",
                                                             explain_sides(file.layer_sides), " (",
                                                             positions, " positions)");
  return {
      {"what", "token file"},
      {"pictures", file.pictures.size()},
      {"tokens", u.tokens},
      {"tokenizer", concat(file.tokenizer_kind, " (", file.model_name, ")")},
      {"codebook", concat(file.codebook_size, " codes (", std::ceil(bits), " bits a token)")},
      {"codebook fingerprint", file.codebook_fingerprint},
      {"grid", concat(grid, " a tile of ", file.preprocess.image_size, "x",
                      file.preprocess.image_size, " pixels")},
      {"fit", file.preprocess.fit},
      {"codes used", concat(u.used, " (perplexity ", std::llround(u.perplexity), ")")},
      {"first pictures", first},
  };
}

/// What a generator draws, and from what. A config that says less than it must is left to who loads it.
ordered_json explain_generator(const ordered_json& config, const ModelFileSummary& summary) {
  const auto say = [&config](const char* key) {
    return config.is_object() && config.contains(key) ? config[key].dump() : std::string("?");
  };
  std::string from = "nothing: unconditional";
  if (summary.file.kind == "parti") {
    from = concat("captions of at most ", say("max_text_tokens"), " pieces (",
                  say("text_vocabulary"), " in the vocabulary)");
  } else if (say("classes") != "0") {
    from = concat("one of ", say("classes"), " classes");
  }
  return {
      {"draws", concat(say("grid_height"), "x", say("grid_width"), " tokens of ",
                       say("codebook_size"), " codes, from ", from)},
      {"tokens of", concat(say("tokenizer_name"), ", codebook ", say("codebook_fingerprint"))},
  };
}

/// The pyramid and the first words of a SPAE.
ordered_json explain_spae(const ModelFileSummary& summary, const std::string& path) {
  const spae::Config config = spae_config_from_json(summary.file.config, path);
  const spae::Pyramid pyramid = spae::make_pyramid(spae::numbers("sides", config.sides));
  std::string tokens, examples;
  for (int64_t layer = 1; layer <= pyramid.layers(); ++layer) {
    tokens += concat(tokens.empty() ? "" : ", ", pyramid.tokens(layer));
  }
  const SafetensorsFile file(path);
  check(file.entries().count("words.text") == 1, ErrorKind::kBadData, path,
        ": tensor \"words.text\" is missing");
  const std::vector<std::string> words = words_of(file.tensor("words.text"), path);
  for (size_t k = 0; k < std::min<size_t>(12, words.size()); ++k) {
    examples += (k == 0 ? "" : " ") + words[k];
  }
  return {
      {"layers", explain_sides(pyramid.sides)},
      {"tokens after each", tokens},
      {"words", concat(words.size(), " with codes of ", config.code_width, ": ", examples,
                       words.size() > 12 ? " ..." : "")},
  };
}

ordered_json explain_model(const std::string& path) {
  const ModelFileSummary summary = read_model_file_summary(path);
  int64_t scalars = 0;
  std::map<std::string, int64_t> dtypes;
  for (const auto& [name, shape] : summary.shapes) {
    int64_t count = 1;
    for (const int64_t side : shape) count *= side;
    scalars += count;
    ++dtypes[summary.dtypes.at(name)];
  }
  std::string stored;
  for (const auto& [dtype, tensors] : dtypes) {
    stored += concat(stored.empty() ? "" : ", ", tensors, " tensors of ", dtype);
  }
  const auto parsed = [](const std::string& text) {
    return ordered_json::parse(text.empty() ? "null" : text, nullptr, false);
  };
  ordered_json out = {{"what", concat("model file: ", summary.file.kind)}};
  if (summary.file.kind == "parti" || summary.file.kind == "vim") {
    out.update(explain_generator(parsed(summary.file.config), summary));
  }
  if (summary.file.kind == "spae") out.update(explain_spae(summary, path));
  out.update({
      {"size", concat(human_bytes(summary.bytes), ", ", scalars, " numbers in ", stored)},
      {"license", summary.file.license},
      {"preprocess", parsed(summary.file.preprocess)},
      {"config", parsed(summary.file.config)},
      {"provenance", parsed(summary.file.provenance)},
  });
  return out;
}

/// A safetensors file of somebody else: its metadata and first tensors.
ordered_json explain_foreign(const SafetensorsFile& file) {
  ordered_json tensors = ordered_json::array();
  for (const auto& [name, entry] : file.entries()) {
    if (tensors.size() == 20) break;
    tensors.push_back(concat(name, " ", entry.dtype_name, " ", at::IntArrayRef(entry.shape)));
  }
  return {
      {"what", "safetensors file, not of Lexel (lexel import knows some families)"},
      {"size", concat(human_bytes(file.bytes()), ", ", file.entries().size(), " tensors")},
      {"metadata", file.metadata()},
      {"first tensors", tensors},
  };
}

ordered_json explain_picture(const std::string& path) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxPictureBytes);
  const ImageHeader header = read_image_header(bytes.data(), bytes.size(), path);
  ordered_json out = {
      {"what", concat("picture: ", header.format)},
      {"size", concat(human_bytes(static_cast<int64_t>(bytes.size())), ", ", header.width, "x",
                      header.height, " pixels")},
  };
  PngText text = read_png_text(bytes.data(), bytes.size(), path);
  if (const auto record = text.find(kRecordKeyword); record != text.end()) {
    try {
      record_from_png_text(text, path);
      out["drawn by txt2img"] = ordered_json::parse(record->second);
      text.erase(record);
    } catch (const Error& error) {
      out["record"] = concat("cannot be read: ", error.what());
    }
  }
  if (!text.empty()) out["text"] = text;
  return out;
}

bool looks_like_safetensors(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  check(file.good(), ErrorKind::kIo, path, ": cannot be opened");
  char start[9] = {};
  file.read(start, sizeof start);
  return file.gcount() == sizeof start && start[8] == '{';
}

ordered_json explain(const std::string& path) {
  if (!looks_like_safetensors(path)) return explain_picture(path);
  const SafetensorsFile file(path);
  const auto kind = file.metadata().find("lexel.kind");
  if (kind == file.metadata().end()) return explain_foreign(file);
  return kind->second == "tokens" ? explain_tokens(path) : explain_model(path);
}

ordered_json explain_machine() {
  const MachineReport machine = describe_machine();
  ordered_json caches = ordered_json::object(), paths = ordered_json::object();
  for (const CpuCache& cache : machine.caches) caches[cache.name] = binary_bytes(cache.bytes);
  for (const kernels::KernelPath& one : machine.paths) paths[one.kernel] = one.path;
  std::string features;
  for (const std::string& name : machine.features) {
    features += concat(features.empty() ? "" : ", ", name);
  }
  const auto found = [](const std::string& text, const char* otherwise) {
    return text.empty() ? otherwise : text;
  };
  return {
      {"what", "this machine"},
      {"cpu", machine.cpu},
      {"cores", concat(machine.cores, " (", machine.threads, " threads in use)")},
      {"memory", binary_bytes(machine.memory_bytes)},
      {"caches", caches},
      {"instruction sets", features},
      {"in use",
       {{"vectors", machine.in_use.vectors},
        {"bfloat16 dot products", machine.in_use.bf16_dot},
        {"int8 dot products", machine.in_use.vnni},
        {"AMX tiles of bfloat16", machine.in_use.amx_bf16},
        {"AMX tiles of int8", machine.in_use.amx_int8}}},
      {"kernels", paths},
      {"GPU", found(machine.gpu, "no NVIDIA driver")},
      {"GPU driver", found(machine.gpu_driver, "none")},
      {"CUDA plugin", found(machine.plugin, "none in this build")},
  };
}

/// Text for a terminal: control characters, which could move its cursor or more, are shown as "?".
std::string harmless(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = c == '\n' || c == '\t' ? ' ' : '?';
  }
  return text;
}

/// Indented "key: value" lines; objects and lists go one step deeper.
void print(std::ostream& out, const ordered_json& value, const std::string& indent) {
  for (const auto& [key, item] : value.items()) {
    out << indent << (value.is_array() ? "-" : harmless(key) + ":");
    if (item.is_structured()) {
      out << "\n";
      print(out, item, indent + "  ");
    } else {
      out << " " << (item.is_string() ? harmless(item.get<std::string>()) : item.dump()) << "\n";
    }
  }
}

}  // namespace

int run_info(const InfoOptions& options) {
  ordered_json all = ordered_json::array();
  if (options.machine) all.push_back(explain_machine());
  for (const std::string& path : options.files) {
    ordered_json one = {{"file", path}};
    one.update(explain(path));
    all.push_back(std::move(one));
  }
  std::ostringstream out;
  if (options.json) {
    out << (all.size() == 1 ? all.front() : all)
               .dump(2, ' ', false, ordered_json::error_handler_t::replace)
        << "\n";
  } else {
    for (const ordered_json& one : all) {
      print(out, one, "");
      if (all.size() > 1) out << "\n";
    }
  }
  write_stdout(out.str());
  return 0;
}

}  // namespace lexel::cli
