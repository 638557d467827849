#include "tokenizers/io/picture_label.h"

#include <nlohmann/json.hpp>

namespace lexel {

PictureLabel picture_label(const std::string& json) {
  const auto object = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return {};
  const auto text = [&object](const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  PictureLabel label;
  label.found = true;
  label.caption = text("caption");
  label.set = text("set");
  label.held_out = text("split") == "heldout";
  const auto number = object.find("class");
  if (number != object.end() && number->is_number_unsigned() &&
      number->get<uint64_t>() <= uint64_t{INT32_MAX}) {
    label.label = number->get<int64_t>();
  }
  return label;
}

}  // namespace lexel
