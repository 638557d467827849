#include "apps/train/spae/picture_scores.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>
#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "tokenizers/io/safetensors.h"

namespace lexel::train {
namespace {

std::vector<std::string> read_texts(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.entries().find(key);
  check(found != file.entries().end() && found->second.dtype == at::kByte, ErrorKind::kBadData,
        file.name(), ": expected \"", key, "\": U8, a JSON array of texts");
  const at::Tensor bytes = file.tensor(key);
  const auto* const text = reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>());
  const auto list = nlohmann::json::parse(text, text + bytes.numel(), nullptr, false);
  check(list.is_array(), ErrorKind::kBadData, file.name(), ": \"", key, "\" is not a JSON array");
  std::vector<std::string> texts;
  for (const nlohmann::json& item : list) {
    check(item.is_string(), ErrorKind::kBadData, file.name(), ": \"", key, "\": number ",
          texts.size(), " is not a text");
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

}  // namespace

PictureScores::PictureScores(const std::string& path, const std::vector<std::string>& words) {
  const SafetensorsFile file(path);
  const std::vector<std::string> names = read_texts(file, "names"),
                                 columns = read_texts(file, "words");
  const auto found = file.entries().find("scores");
  const std::vector<int64_t> shape{static_cast<int64_t>(names.size()),
                                   static_cast<int64_t>(columns.size())};
  check(found != file.entries().end() && at::isFloatingType(found->second.dtype) &&
            found->second.shape == shape,
        ErrorKind::kBadData, path, ": expected \"scores\": floats of shape ",
        at::IntArrayRef(shape));
  std::map<std::string, int64_t> column_of;
  for (size_t i = 0; i < columns.size(); ++i) column_of[columns[i]] = static_cast<int64_t>(i);
  std::vector<int64_t> order;
  for (const std::string& word : words) {
    const auto column = column_of.find(word);
    check(column != column_of.end(), ErrorKind::kBadData, path, ": has no scores of the word \"",
          word, "\"");
    order.push_back(column->second);
  }
  scores_ = file.tensor("scores").to(at::kFloat).index_select(1, at::tensor(order, at::kLong));
  check(at::isfinite(scores_).all().item<bool>(), ErrorKind::kBadData, path,
        ": \"scores\" holds a value that is not finite");
  for (size_t i = 0; i < names.size(); ++i) rows_[names[i]] = static_cast<int64_t>(i);
}

at::Tensor PictureScores::of(const std::string& name) const {
  const auto found = rows_.find(name);
  return found == rows_.end() ? at::Tensor() : scores_.select(0, found->second);
}

}  // namespace lexel::train
