#include "apps/txt2img/record.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/sha256.h"

namespace lexel::cli {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kFormat = 1;
constexpr size_t kMaxScores = 4096;

ordered_json to_json(const ModelStamp& model) {
  return {{"name", model.name}, {"fingerprint", model.fingerprint}};
}

/// Reads what a stranger may have written: every type is checked, and the key named.
class Reader {
 public:
  Reader(const ordered_json& object, std::string name) : object_(object), name_(std::move(name)) {
    check(object.is_object(), ErrorKind::kBadData, name_, ": is not a JSON object");
  }

  bool has(const std::string& key) const { return object_.contains(key); }
  Reader object(const std::string& key) const { return {at(key), concat(name_, ", ", key)}; }

  std::string text(const std::string& key) const {
    return want(key, at(key).is_string(), "text").get<std::string>();
  }
  int64_t whole(const std::string& key, int64_t low, int64_t high) const {
    const ordered_json& value = at(key);
    const bool fits = value.is_number_integer() &&
                      (!value.is_number_unsigned() || value.get<uint64_t>() <= uint64_t{INT64_MAX});
    want(key, fits && value.get<int64_t>() >= low && value.get<int64_t>() <= high,
         concat("a whole number from ", low, " to ", high));
    return value.get<int64_t>();
  }
  uint64_t unsigned_whole(const std::string& key) const {
    return want(key, at(key).is_number_unsigned(), "a whole number from 0").get<uint64_t>();
  }
  double number(const std::string& key) const {
    return want(key, at(key).is_number(), "a number").get<double>();
  }
  std::vector<double> numbers(const std::string& key, size_t most) const {
    want(key, at(key).is_array() && at(key).size() <= most, concat("at most ", most, " numbers"));
    for (const ordered_json& value : at(key)) want(key, value.is_number(), "numbers");
    return at(key).get<std::vector<double>>();
  }
  ModelStamp model(const std::string& key) const {
    const Reader stamp = object(key);
    return {stamp.text("name"), stamp.text("fingerprint")};
  }

 private:
  const ordered_json& at(const std::string& key) const {
    const auto found = object_.find(key);
    check(found != object_.end(), ErrorKind::kBadData, name_, ": \"", key, "\" is missing");
    return *found;
  }
  const ordered_json& want(const std::string& key, bool ok, const std::string& what) const {
    check(ok, ErrorKind::kBadData, name_, ": \"", key, "\": expected ", what);
    return at(key);
  }

  const ordered_json& object_;
  std::string name_;
};

Record read_record(const ordered_json& json, const std::string& name) {
  constexpr int64_t kMost = int64_t{1} << 62;
  const Reader reader(json, name);
  const int64_t format = reader.whole("format", 1, kMost);
  check(format <= kFormat, ErrorKind::kUnsupported, name, ": format ", format,
        " is newer than this program, which reads up to ", kFormat);
  Record record;
  record.caption = reader.text("caption");
  record.picture = reader.whole("picture", 0, kMost);
  record.sampling.seed = reader.unsigned_whole("seed");
  record.sampling.guidance = reader.number("guidance");
  record.sampling.schedule = reader.text("guidance_schedule");
  record.sampling.temperature = reader.number("temperature");
  record.sampling.top_k = reader.whole("top_k", 0, kMost);
  record.sampling.top_p = reader.number("top_p");
  record.sampling.cache = cache_type(reader.text("cache"));
  record.precision = reader.text("precision");
  weight_format(record.precision);
  ar::validate(record.sampling, kMost);  // the model that draws knows how many codes it has
  record.generator = reader.model("generator");
  record.tokenizer = reader.model("tokenizer");
  record.tokens = reader.text("tokens");
  record.mean_log_probability = reader.number("mean_log_probability");
  if (reader.has("upscaler")) record.upscaler = reader.model("upscaler");
  if (reader.has("scorer")) {
    record.scorer = reader.model("scorer");
    record.scores = reader.numbers("scores", kMaxScores);
  }
  if (reader.has("edit")) {
    const Reader edit = reader.object("edit");
    record.photo = edit.text("photo");
    if (edit.has("mask")) record.mask = edit.text("mask");
    if (edit.has("keep_top")) record.keep_top = edit.whole("keep_top", 1, kMost);
  }
  return record;
}

}  // namespace

PngText to_png_text(const Record& record) {
  ordered_json json = {
      {"format", kFormat},
      {"caption", record.caption},
      {"picture", record.picture},
      {"seed", record.sampling.seed},
      {"guidance", record.sampling.guidance},
      {"guidance_schedule", record.sampling.schedule},
      {"temperature", record.sampling.temperature},
      {"top_k", record.sampling.top_k},
      {"top_p", record.sampling.top_p},
      {"precision", record.precision},
      {"cache", cache_name(record.sampling.cache)},
      {"generator", to_json(record.generator)},
      {"tokenizer", to_json(record.tokenizer)},
  };
  if (!record.upscaler.fingerprint.empty()) json["upscaler"] = to_json(record.upscaler);
  if (!record.scorer.fingerprint.empty()) {
    json["scorer"] = to_json(record.scorer);
    json["scores"] = record.scores;
  }
  if (!record.photo.empty()) {
    json["edit"] = {{"photo", record.photo}};
    if (!record.mask.empty()) json["edit"]["mask"] = record.mask;
    if (record.keep_top > 0) json["edit"]["keep_top"] = record.keep_top;
  }
  json["tokens"] = record.tokens;
  json["mean_log_probability"] = record.mean_log_probability;
  return {{"Description", record.caption},
          {"Software", "Lexel txt2img"},
          {kRecordKeyword, json.dump()}};
}

Record record_from_png_text(const PngText& text, const std::string& name) {
  const auto found = text.find(kRecordKeyword);
  check(found != text.end(), ErrorKind::kBadData, name,
        ": holds no record of how it was drawn (only PNG files of txt2img do)");
  const std::string where = concat(name, ": its record");
  // The records are two levels deep; what is deeper is somebody's attack on the parser.
  const auto shallow = [](int depth, ordered_json::parse_event_t, ordered_json&) {
    return depth <= 4;
  };
  const ordered_json json = ordered_json::parse(found->second, shallow, /*allow_exceptions=*/false);
  try {
    return read_record(json, where);
  } catch (
      const Error& error) {  // from a file a value that cannot be is bad data, not a wrong argument
    if (error.kind() != ErrorKind::kUsage) throw;
    fail(ErrorKind::kBadData, where, ": ", error.what());
  }
}

kernels::WeightFormat weight_format(const std::string& precision) {
  if (precision == "int8") return kernels::WeightFormat::kInt8;
  if (precision == "bf16") return kernels::WeightFormat::kBFloat16;
  check_arg(precision == "fp32", "precision", "expected int8, bf16 or fp32, got ", precision);
  return kernels::WeightFormat::kFloat32;
}

at::ScalarType cache_type(const std::string& precision) {
  if (precision == "int8") return at::kChar;
  if (precision == "bf16") return at::kBFloat16;
  check_arg(precision == "fp32", "cache", "expected int8, bf16 or fp32, got ", precision);
  return at::kFloat;
}

std::string cache_name(at::ScalarType type) {
  return type == at::kChar ? "int8" : type == at::kBFloat16 ? "bf16" : "fp32";
}

std::string tokens_fingerprint(const at::Tensor& tokens) {
  const at::Tensor ids = tokens.to(at::kCPU, at::kInt).contiguous();
  return sha256(ids.const_data_ptr(), ids.nbytes());
}

std::string pixels_fingerprint(const Image& image) {
  const at::Tensor pixels = image.pixels.contiguous();
  const std::string whole = concat(image.width(), " ", image.height(), " ",
                                   sha256(pixels.const_data_ptr(), pixels.nbytes()));
  return sha256(whole.data(), whole.size());
}

}  // namespace lexel::cli
