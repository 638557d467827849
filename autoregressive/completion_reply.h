#pragma once

// Private to autoregressive: JSON types.

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace lexel::ar {

/// A token of an answer.
struct ReplyToken {
  std::string text;
  std::optional<double> log_probability;       // ln p; none of a text's first token
  std::optional<int64_t> offset;               // characters before it
  std::map<std::string, double> alternatives;  // ln p of the likeliest tokens at its place
};

/// What a server answered to a request for a completion.
struct CompletionReply {
  std::string text;
  std::vector<ReplyToken> tokens;  // empty where it gave no log-probabilities
};

/// Reads an answer in either form that servers give log-probabilities in: lists side by side ("tokens", "token_logprobs",
/// "top_logprobs"), or a list of objects ("content").
///
/// source  OpenAI API reference, "Completions" and, for "content", "Chat completions"
/// throws  Error(kBadData) "NAME: ..." no JSON, or not a completion
CompletionReply parse_completion(const std::string& body, const std::string& name);

/// The words of an error in a server's answer, on one line, at most 200 bytes; may be empty.
std::string error_words(const std::string& body);

}  // namespace lexel::ar
