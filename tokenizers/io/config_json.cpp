#include "tokenizers/io/config_json.h"

#include "tokenizers/io/fields_json.h"

namespace lexel {

// Found by argument-dependent look-up from fields_json.h.
template <class AnyPreprocess, class Visitor,
          class = std::enable_if_t<std::is_same_v<std::remove_const_t<AnyPreprocess>, Preprocess>>>
void visit_fields(AnyPreprocess& preprocess, Visitor&& visitor) {
  visitor(std::string("image_size"), preprocess.image_size);
  visitor(std::string("fit"), preprocess.fit);
  visitor(std::string("kernel"), preprocess.kernel);
}

std::string to_json(const vqgan::Config& config) { return fields_json::write(config); }
std::string to_json(const spae::Config& config) { return fields_json::write(config); }
std::string to_json(const Preprocess& preprocess) { return fields_json::write(preprocess); }

vqgan::Config vqgan_config_from_json(const std::string& json, const std::string& name) {
  return fields_json::read<vqgan::Config>(json, name);
}

spae::Config spae_config_from_json(const std::string& json, const std::string& name) {
  return fields_json::read<spae::Config>(json, name);
}

Preprocess preprocess_from_json(const std::string& json, const std::string& name) {
  return fields_json::read<Preprocess>(json, name);
}

}  // namespace lexel
