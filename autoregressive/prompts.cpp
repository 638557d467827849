#include "autoregressive/prompts.h"

#include <ATen/ops/full.h>
#include <charconv>

#include "kernels/check.h"

namespace lexel::ar {
namespace {

constexpr const char* kEmpty = "is empty: drawn unconditionally";

Condition condition_of(const EncodedCaptions& captions, at::Device device) {
  Condition condition;
  condition.text = captions.ids.to(device);
  condition.lengths = captions.lengths.to(device);
  return condition;
}

std::vector<std::string> warnings_of(const EncodedCaptions& encoded) {
  std::vector<std::string> warnings(encoded.cut.size());
  const int64_t* length = encoded.lengths.const_data_ptr<int64_t>();
  for (size_t i = 0; i < encoded.cut.size(); ++i) {
    if (encoded.cut[i]) {
      warnings[i] =
          concat("is longer than ", encoded.ids.size(1) - 1, " pieces of text: the rest was cut");
    } else if (length[i] == 1) {
      warnings[i] = kEmpty;
    }
  }
  return warnings;
}

// The number of a class, or `classes` for none.
int64_t class_of(const std::string& caption, int64_t classes) {
  if (caption.empty()) return classes;
  check(classes > 0, ErrorKind::kUsage,
        "this generator draws without captions and classes: give \"\"");
  int64_t number = -1;
  const char* const end = caption.data() + caption.size();
  const auto [rest, error] = std::from_chars(caption.data(), end, number);
  check(error == std::errc() && rest == end && number >= 0 && number < classes, ErrorKind::kUsage,
        "this generator draws classes: expected a number from 0 to ", classes - 1, ", got \"",
        caption, '"');
  return number;
}

Prompts of_classes(const Config& config, const std::vector<std::string>& captions,
                   at::Device device) {
  Prompts prompts;
  prompts.warnings.resize(captions.size());
  at::Tensor classes = at::full({static_cast<int64_t>(captions.size())}, config.classes, at::kLong);
  for (size_t i = 0; i < captions.size(); ++i) {
    classes.mutable_data_ptr<int64_t>()[i] = class_of(captions[i], config.classes);
    if (captions[i].empty()) prompts.warnings[i] = kEmpty;
  }
  if (config.classes > 0) {
    prompts.given.classes = classes.to(device);
    prompts.none.classes = at::full({1}, config.classes, at::kLong).to(device);
  }
  return prompts;
}

}  // namespace

Prompts read_prompts(const Config& config, const TextTokenizer* text,
                     const std::vector<std::string>& captions, at::Device device) {
  if (text == nullptr) return of_classes(config, captions, device);
  const EncodedCaptions encoded = encode_captions(*text, captions, config.max_text_tokens);
  return {condition_of(encoded, device),
          condition_of(encode_captions(*text, {""}, config.max_text_tokens), device),
          warnings_of(encoded)};
}

}  // namespace lexel::ar
