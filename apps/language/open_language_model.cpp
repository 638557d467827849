#include "apps/language/open_language_model.h"

#include "autoregressive/local_language_model.h"
#include "autoregressive/server_language_model.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::cli {

std::unique_ptr<ar::LanguageModel> open_language_model(const LanguageModelChoice& choice) {
  if (choice.source.starts_with("http://") || choice.source.starts_with("https://")) {
    ar::ServerLanguageModel::Options options{.url = choice.source, .model = choice.server_model};
    options.timeout_s = choice.timeout_s;
    if (!choice.key_file.empty()) {
      const std::vector<uint8_t> bytes = read_file(choice.key_file, 1 << 16);
      const std::string text(bytes.begin(), bytes.end());
      options.key = text.substr(0, text.find_first_of("\r\n"));
    }
    return std::make_unique<ar::ServerLanguageModel>(options);
  }
  check(choice.precision == "fast" || choice.precision == "float32", ErrorKind::kUsage,
        "expected a precision of fast or float32, got ", choice.precision);
  ar::LocalLanguageModel::Options options;
  options.precision =
      choice.precision == "fast" ? ar::LlamaPrecision::kFast : ar::LlamaPrecision::kFloat32;
  options.context = choice.context;
  return std::make_unique<ar::LocalLanguageModel>(choice.source, options);
}

}  // namespace lexel::cli
