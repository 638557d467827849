#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autoregressive/language_model.h"

namespace lexel::tests {

/// A language model whose answers a test knows: `value` gives ln p of a continuation, as one token; every question is kept.
class ScriptedLanguageModel : public ar::LanguageModel {
 public:
  using Value = std::function<double(const std::string& prompt, const std::string& continuation)>;

  explicit ScriptedLanguageModel(Value value) : value_(std::move(value)) {}

  std::vector<std::string> prompts;  // in the order they came

  std::string name() const override { return "scripted"; }
  std::vector<std::string> tokenize(const std::string& text) override { return {text}; }
  std::vector<ar::TextScore> score(const std::string& prompt,
                                   const std::vector<std::string>& continuations) override {
    prompts.push_back(prompt);
    std::vector<ar::TextScore> scores;
    for (const std::string& text : continuations) scores.push_back({{value_(prompt, text)}});
    return scores;
  }
  std::string complete(const std::string&, const ar::CompletionOptions&) override { return ""; }

 private:
  Value value_;
};

}  // namespace lexel::tests
