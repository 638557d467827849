#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "autoregressive/language_model.h"

namespace lexel::ar {

/// A language model behind a server that speaks OpenAI's completions API with log-probabilities: llama.cpp's server,
/// llama-cpp-python's, vLLM's. Texts and prompts go over the wire as they are.
///
/// score() asks the server to echo prompt and continuation with their log-probabilities ("echo", "logprobs"). A server that
/// does not (llama.cpp's own) is asked for the likeliest next tokens, step by step: a continuation is then cut as the longest
/// listed token fits, and one whose token is not listed gets the log-probability of the last that is, an upper bound.
/// choose() among more than 16 candidates takes the second way at once.
class ServerLanguageModel : public LanguageModel {
 public:
  struct Options {
    std::string url;      // up to the version: "http://127.0.0.1:8080/v1"
    std::string model{};  // the name that the server knows it by; empty: not sent
    std::string key{};    // sent as a bearer token; empty: none
    double connect_timeout_s = 5.0;
    double timeout_s = 120.0;  // of an answer
    int64_t attempts = 3;      // in all; pauses of pause_s, then doubled
    double pause_s = 0.5;
    int64_t listed_tokens = 1000;  // likeliest tokens asked for; servers give what they allow
  };

  /// Nothing is sent before the first call. Of every call: Error(kIo) no connection, no answer in time, or a status that is
  /// not 200, with the server's own words; Error(kBadData) an answer that is no completion; Error(kUnsupported) one without
  /// log-probabilities.
  ///
  /// throws  Error(kUsage) a URL that is not http or https, or a time, number of attempts or of tokens that is not > 0
  explicit ServerLanguageModel(const Options& options);
  ~ServerLanguageModel() override;

  std::string name() const override;
  std::vector<std::string> tokenize(const std::string& text) override;
  std::vector<TextScore> score(const std::string& prompt,
                               const std::vector<std::string>& continuations) override;
  int64_t choose(const std::string& prompt, const std::vector<std::string>& candidates) override;
  std::string complete(const std::string& prompt, const CompletionOptions& options) override;

 private:
  class Client;
  std::unique_ptr<Client> client_;
};

}  // namespace lexel::ar
