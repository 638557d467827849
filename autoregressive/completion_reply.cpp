#include "autoregressive/completion_reply.h"

#include <cmath>

#include "kernels/check.h"

namespace lexel::ar {
namespace {

using nlohmann::json;

std::optional<double> log_probability(const json& value, const std::string& name) {
  if (value.is_null()) return std::nullopt;
  const bool fits = value.is_number() && !std::isnan(value.get<double>()) &&
                    value.get<double>() <= 1e-3;  // servers round
  check(fits, ErrorKind::kBadData, name, ": answers with a log-probability of ", value.dump());
  return value.get<double>();
}

const json& member(const json& object, const char* key) {
  static const json nothing;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : nothing;
}

// "tokens", "token_logprobs", "text_offset", "top_logprobs": as long as each other, the last two optional.
std::vector<ReplyToken> parse_lists(const json& lists, const std::string& name) {
  const json &tokens = member(lists, "tokens"), &values = member(lists, "token_logprobs");
  const json &offsets = member(lists, "text_offset"), &tops = member(lists, "top_logprobs");
  check(tokens.is_array() && values.is_array() && values.size() == tokens.size(),
        ErrorKind::kBadData, name, ": answers with log-probabilities that fit no tokens");
  std::vector<ReplyToken> result;
  for (size_t i = 0; i < tokens.size(); ++i) {
    check(tokens[i].is_string(), ErrorKind::kBadData, name,
          ": answers with a token that is no text");
    ReplyToken token{tokens[i].get<std::string>(), log_probability(values[i], name), {}, {}};
    if (offsets.is_array() && i < offsets.size() && offsets[i].is_number_integer())
      token.offset = offsets[i].get<int64_t>();
    if (tops.is_array() && i < tops.size() && tops[i].is_object()) {
      for (const auto& [text, value] : tops[i].items())
        token.alternatives[text] = log_probability(value, name).value_or(-INFINITY);
    }
    result.push_back(std::move(token));
  }
  return result;
}

std::vector<ReplyToken> parse_content(const json& content, const std::string& name) {
  std::vector<ReplyToken> result;
  const auto text_of = [&](const json& object) {
    const json& text = member(object, "token");
    check(text.is_string(), ErrorKind::kBadData, name, ": answers with a token that is no text");
    return text.get<std::string>();
  };
  for (const json& object : content) {
    ReplyToken token{text_of(object), log_probability(member(object, "logprob"), name), {}, {}};
    const json& tops = member(object, "top_logprobs");
    if (tops.is_array()) {
      for (const json& top : tops)
        token.alternatives[text_of(top)] =
            log_probability(member(top, "logprob"), name).value_or(-INFINITY);
    }
    result.push_back(std::move(token));
  }
  return result;
}

}  // namespace

CompletionReply parse_completion(const std::string& body, const std::string& name) {
  const json reply = json::parse(body, nullptr, /*allow_exceptions=*/false);
  const json& choices = member(reply, "choices");
  check(choices.is_array() && !choices.empty() && member(choices[0], "text").is_string(),
        ErrorKind::kBadData, name, ": its answer is not a completion of the OpenAI API");
  CompletionReply result{member(choices[0], "text").get<std::string>(), {}};
  const json& log_probabilities = member(choices[0], "logprobs");
  const json& content = member(log_probabilities, "content");
  if (content.is_array()) {
    result.tokens = parse_content(content, name);
  } else if (log_probabilities.is_object()) {
    result.tokens = parse_lists(log_probabilities, name);
  }
  return result;
}

std::string error_words(const std::string& body) {
  const json reply = json::parse(body, nullptr, /*allow_exceptions=*/false);
  const json& error = member(reply, "error");
  std::string words = member(error, "message").is_string()
                          ? member(error, "message").get<std::string>()
                      : error.is_string() ? error.get<std::string>()
                                          : body;
  words = words.substr(0, 200);
  for (char& c : words) {
    if (static_cast<unsigned char>(c) < 32 || c == 127) c = ' ';
  }
  return words;
}

}  // namespace lexel::ar
