#pragma once

// Private to this tree (it holds JSON types, and is not installed): any struct with a visit_fields() <-> JSON text.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <type_traits>

#include "kernels/check.h"

namespace lexel::fields_json {

/// Whether a config says of a field, by a function may_be_absent(config, key) beside its visit_fields(), that JSON has it only
/// where it is not as in a fresh config: what fields are that came after files were written.
template <class Config>
bool is_optional(const Config& config, const std::string& key) {
  if constexpr (requires { may_be_absent(config, key); }) return may_be_absent(config, key);
  return false;
}

template <class Config>
std::string write(const Config& config) {
  nlohmann::ordered_json out = nlohmann::ordered_json::object(), fresh = out;
  const Config defaults;
  visit_fields(defaults,
               [&fresh](const std::string& key, const auto& field) { fresh[key] = field; });
  visit_fields(config, [&](const std::string& key, const auto& field) {
    const nlohmann::ordered_json value = field;
    if (!is_optional(config, key) || value != fresh[key]) out[key] = value;
  });
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Text to a flat object; Error(kBadData) when it is anything else.
inline nlohmann::json parse_flat_object(const std::string& text, const std::string& name) {
  std::set<std::string> keys;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    check(depth <= 1, ErrorKind::kBadData, name, ": config is nested");
    if (event == nlohmann::json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      check(keys.insert(key).second, ErrorKind::kBadData, name, ": key \"", key, "\" twice");
    }
    return true;
  };
  nlohmann::json object = nlohmann::json::parse(text, watch, /*allow_exceptions=*/false);
  check(object.is_object(), ErrorKind::kBadData, name, ": config is not a JSON object");
  return object;
}

template <class Field>
void read_field(const nlohmann::json& value, const std::string& name, const std::string& key,
                Field& field) {
  const auto want = [&](bool ok, const char* type) {
    check(ok, ErrorKind::kBadData, name, ": key \"", key, "\": expected ", type, ", got ",
          value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  };
  if constexpr (std::is_same_v<Field, bool>) {
    want(value.is_boolean(), "true or false");
  } else if constexpr (std::is_same_v<Field, int64_t>) {
    want(value.is_number_integer(), "a whole number");
    want(!value.is_number_unsigned() || value.get<uint64_t>() <= uint64_t{INT64_MAX},
         "a number of 64 bits");
  } else if constexpr (std::is_same_v<Field, double>) {
    want(value.is_number(), "a number");
  } else {
    static_assert(std::is_same_v<Field, std::string>);
    want(value.is_string(), "text");
  }
  field = value.get<Field>();
}

template <class Config>
Config read(const std::string& text, const std::string& name) {
  const nlohmann::json object = parse_flat_object(text, name);
  Config config;
  std::set<std::string> known;
  visit_fields(config, [&](const std::string& key, auto& field) {
    known.insert(key);
    const auto found = object.find(key);
    if (found == object.end() && is_optional(config, key)) return;
    check(found != object.end(), ErrorKind::kBadData, name, ": key \"", key, "\" is missing");
    read_field(*found, name, key, field);
  });
  for (const auto& [key, value] : object.items()) {
    check(known.count(key) == 1, ErrorKind::kBadData, name, ": unknown key \"", key, "\"");
  }
  try {
    validate(config);
  } catch (const Error& error) {  // from a file it is bad data, not a wrong argument
    fail(ErrorKind::kBadData, name, ": ", error.what());
  }
  return config;
}

}  // namespace lexel::fields_json
