#pragma once

#include <string>

#include "spae/config.h"
#include "tokenizers/io/preprocess.h"
#include "vqgan/config.h"

namespace lexel {

/// A config as one JSON object: every field of its visit_fields(), in that order, nested names
/// dotted.
std::string to_json(const vqgan::Config& config);
std::string to_json(const spae::Config& config);
std::string to_json(const Preprocess& preprocess);

/// The inverse. Every field must be there and nothing else; the values are checked by validate().
///
/// name     stands for the file in messages
/// throws   Error(kBadData) naming the key: unknown, missing, twice, of another type, or a value
/// that cannot be
vqgan::Config vqgan_config_from_json(const std::string& json, const std::string& name);
spae::Config spae_config_from_json(const std::string& json, const std::string& name);
Preprocess preprocess_from_json(const std::string& json, const std::string& name);

}  // namespace lexel
