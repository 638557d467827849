#pragma once

// Private to apps/train (a JSON type in a header): what every kind's recipe, any struct with visit_fields() and validate(),
// can do.

#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/fields_json.h"

namespace lexel::train::recipe_fields {

/// One line a field, nested names dotted.
template <class Recipe>
std::string write(const Recipe& recipe) {
  return nlohmann::ordered_json::parse(fields_json::write(recipe)).dump(2) + "\n";
}

/// throws   Error(kBadData) naming `name` and the key: not JSON, a key missing, unknown, twice, of another
///          type, or with a value that cannot be
template <class Recipe>
Recipe parse(const std::string& json, const std::string& name) {
  return fields_json::read<Recipe>(json, name);
}

/// throws   Error(kIo); as parse()
template <class Recipe>
Recipe read(const std::string& path) {
  const auto bytes = read_file(path, /*max_bytes=*/1 << 20);
  return parse<Recipe>(std::string(bytes.begin(), bytes.end()), path);
}

/// Changes one field by its dotted name: "learning_rate=3e-4", "model.depth=4".
///
/// throws   Error(kUsage): no such field (the names are listed), or a value of another type
template <class Recipe>
void set(Recipe& recipe, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  check(equals != std::string::npos && equals > 0, ErrorKind::kUsage,
        "--set: expected KEY=VALUE, got '", assignment, "'");
  const std::string key = assignment.substr(0, equals);
  const std::string text = assignment.substr(equals + 1);
  bool found = false;
  std::string names;
  visit_fields(recipe, [&](const std::string& name, auto& field) {
    names += (names.empty() ? "" : ", ") + name;
    if (name != key) return;
    found = true;
    if constexpr (std::is_same_v<std::decay_t<decltype(field)>, std::string>) {
      field = text;
    } else {
      const auto value = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
      check(!value.is_discarded(), ErrorKind::kUsage, "--set: ", key, ": cannot read '", text, "'");
      try {
        fields_json::read_field(value, "--set", key, field);
      } catch (const Error& error) {  // from the command line it is a wrong argument, not bad data
        fail(ErrorKind::kUsage, error.what());
      }
    }
  });
  check(found, ErrorKind::kUsage, "--set: no field '", key, "'; fields are ", names);
}

}  // namespace lexel::train::recipe_fields
