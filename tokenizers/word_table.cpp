#include "tokenizers/word_table.h"

#include <ATen/ops/isfinite.h>
#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "tokenizers/io/safetensors.h"

namespace lexel {
namespace {

constexpr int64_t kMaxWords = 1 << 20, kMaxWidth = 16384, kMaxTextBytes = 64 << 20;

const SafetensorsFile::Entry& entry_of(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.entries().find(key);
  check(found != file.entries().end(), ErrorKind::kBadData, file.name(),
        ": not a table of words: tensor \"", key, "\" is missing");
  return found->second;
}

nlohmann::json read_json(const SafetensorsFile& file, const std::string& key) {
  const SafetensorsFile::Entry& entry = entry_of(file, key);
  check(entry.dtype == at::kByte && entry.shape.size() == 1 && entry.shape[0] <= kMaxTextBytes,
        ErrorKind::kBadData, file.name(), ": \"", key, "\": expected up to ", kMaxTextBytes,
        " bytes of text, got ", entry.dtype_name, " of shape ", at::IntArrayRef(entry.shape));
  const at::Tensor bytes = file.tensor(key);
  const auto* const text = reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>());
  nlohmann::json value = nlohmann::json::parse(text, text + bytes.numel(), nullptr, false);
  check(!value.is_discarded(), ErrorKind::kBadData, file.name(), ": \"", key, "\" is not JSON");
  return value;
}

std::vector<std::string> read_words(const SafetensorsFile& file) {
  const nlohmann::json list = read_json(file, "words");
  check(list.is_array() && !list.empty() && list.size() <= kMaxWords, ErrorKind::kBadData,
        file.name(), ": \"words\": expected an array of 1 to ", kMaxWords, " texts");
  std::vector<std::string> words;
  for (const nlohmann::json& word : list) {
    check(word.is_string(), ErrorKind::kBadData, file.name(), ": \"words\": number ", words.size(),
          " is not a text");
    words.push_back(word.get<std::string>());
  }
  return words;
}

/// (rows, width) float32, finite.
at::Tensor read_vectors(const SafetensorsFile& file, size_t rows) {
  const SafetensorsFile::Entry& entry = entry_of(file, "vectors");
  const bool fits = entry.shape.size() == 2 && entry.shape[0] == static_cast<int64_t>(rows) &&
                    entry.shape[1] >= 1 && entry.shape[1] <= kMaxWidth;
  check(fits && at::isFloatingType(entry.dtype), ErrorKind::kBadData, file.name(),
        ": \"vectors\": expected floats of shape [", rows, ", 1 to ", kMaxWidth, "], got ",
        entry.dtype_name, " of shape ", at::IntArrayRef(entry.shape));
  const at::Tensor vectors = file.tensor("vectors").to(at::kFloat);
  check(at::isfinite(vectors).all().item<bool>(), ErrorKind::kBadData, file.name(),
        ": \"vectors\" holds a value that is not finite");
  return vectors;
}

std::map<std::string, std::vector<int64_t>> read_stand_ins(const SafetensorsFile& file,
                                                           size_t rows) {
  std::map<std::string, std::vector<int64_t>> result;
  if (!file.entries().contains("stand_ins")) return result;
  const nlohmann::json object = read_json(file, "stand_ins");
  check(object.is_object(), ErrorKind::kBadData, file.name(),
        ": \"stand_ins\" is not a JSON object");
  for (const auto& [word, list] : object.items()) {
    check(list.is_array() && !list.empty(), ErrorKind::kBadData, file.name(), ": \"stand_ins\": \"",
          word, "\" has no rows");
    for (const nlohmann::json& row : list) {
      check(row.is_number_unsigned() && row.get<uint64_t>() < rows, ErrorKind::kBadData,
            file.name(), ": \"stand_ins\": \"", word, "\": expected rows below ", rows, ", got ",
            row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      result[word].push_back(row.get<int64_t>());
    }
  }
  return result;
}

}  // namespace

WordTableFile read_word_table(const std::string& path) {
  const SafetensorsFile file(path);
  WordTableFile result;
  result.table.words = read_words(file);
  const size_t rows = result.table.words.size();
  const SafetensorsFile::Entry& ids = entry_of(file, "ids");
  check((ids.dtype == at::kInt || ids.dtype == at::kLong) && ids.shape.size() == 1 &&
            ids.shape[0] == static_cast<int64_t>(rows),
        ErrorKind::kBadData, path, ": \"ids\": expected ", rows, " whole numbers, got ",
        ids.dtype_name, " of shape ", at::IntArrayRef(ids.shape));
  result.table.ids = file.tensor("ids").to(at::kLong);
  result.table.vectors = read_vectors(file, rows);
  result.stand_ins = read_stand_ins(file, rows);
  result.metadata = file.metadata();
  try {
    spae::check_table(result.table);
  } catch (const Error& error) {  // from a file it is bad data, not a wrong argument
    fail(ErrorKind::kBadData, path, ": ", error.what());
  }
  return result;
}

NamedVectors read_named_vectors(const std::string& path) {
  const SafetensorsFile file(path);
  NamedVectors result;
  result.names = read_words(file);
  result.vectors = read_vectors(file, result.names.size());
  return result;
}

}  // namespace lexel
