#pragma once

#include <memory>
#include <string>
#include <vector>

#include "autoregressive/language_model.h"
#include "autoregressive/llama.h"

namespace lexel::ar {

/// A language model out of a GGUF file, run here: Llama architecture, byte pair tokens (SmolLM2 for one). What prompts have in
/// common with the one before is not read again.
class LocalLanguageModel : public LanguageModel {
 public:
  struct Options {
    LlamaPrecision precision = LlamaPrecision::kFast;
    int64_t context = 4096;  // tokens at most, of prompt and continuation; no more than the model's
  };

  /// throws  what GgufFile, BytePairTokenizer and load_llama throw; Error(kUnsupported) not enough memory;
  ///         Error(kUsage) a context < 1
  LocalLanguageModel(const std::string& path, const Options& options);
  explicit LocalLanguageModel(const std::string& path) : LocalLanguageModel(path, Options()) {}
  ~LocalLanguageModel() override;

  std::string name() const override;
  std::vector<std::string> tokenize(const std::string& text) override;
  std::vector<TextScore> score(const std::string& prompt,
                               const std::vector<std::string>& continuations) override;
  int64_t choose(const std::string& prompt, const std::vector<std::string>& candidates) override;
  std::string complete(const std::string& prompt, const CompletionOptions& options) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lexel::ar
