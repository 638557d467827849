#include "autoregressive/server_language_model.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string_view>
#include <utility>

#include "autoregressive/completion_reply.h"
#include "autoregressive/http_client.h"
#include "kernels/check.h"
#include "tokenizers/utf8.h"

namespace lexel::ar {
namespace {

using nlohmann::json;

constexpr size_t kManyCandidates = 16;  // from here on choose() walks instead of scoring each

int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

void check_utf8(const std::string& text) {
  if (const auto bad = first_invalid_utf8(text))
    fail(ErrorKind::kBadData, "a text that is not UTF-8 at byte ", *bad);
}

}  // namespace

class ServerLanguageModel::Client {
 public:
  explicit Client(const Options& options) : options_(options) {
    const char* const name = "ar::ServerLanguageModel";
    check_arg(options.url.starts_with("http://") || options.url.starts_with("https://"), name,
              "expected a URL that starts with http:// or https://, got ", options.url);
    check_arg(options.timeout_s > 0 && options.connect_timeout_s > 0 && options.pause_s >= 0, name,
              "expected time-outs > 0, got ", options.timeout_s, " and ",
              options.connect_timeout_s);
    check_arg(options.attempts >= 1 && options.listed_tokens >= 1, name,
              "expected at least 1 attempt and 1 listed token, got ", options.attempts, " and ",
              options.listed_tokens);
    while (options_.url.ends_with('/')) options_.url.pop_back();
    url_ = options_.url + "/completions";
  }

  const Options& options() const { return options_; }

  CompletionReply ask(const std::string& prompt, json request) const {
    last_status_ = 0;
    request["prompt"] = prompt;
    if (!options_.model.empty()) request["model"] = options_.model;
    std::vector<std::string> headers;
    if (!options_.key.empty()) headers.push_back("Authorization: Bearer " + options_.key);
    const HttpReply reply = post_json(url_, request.dump(), headers,
                                      {.connect_timeout_s = options_.connect_timeout_s,
                                       .timeout_s = options_.timeout_s,
                                       .attempts = options_.attempts,
                                       .pause_s = options_.pause_s});
    last_status_ = reply.status;
    check(reply.status == 200, ErrorKind::kIo, url_, ": status ", reply.status, ": ",
          error_words(reply.body));
    return parse_completion(reply.body, url_);
  }

  // The tokens of prompt and text as the server echoes them, or nothing where it does not echo.
  std::vector<ReplyToken> echo(const std::string& whole) const {
    CompletionReply reply;
    try {  // one token is written, since some servers take 0 for "no end"
      reply = ask(whole, {{"max_tokens", 1}, {"temperature", 0}, {"echo", true}, {"logprobs", 1}});
    } catch (const Error&) {
      const bool refused = last_status_ >= 400 && last_status_ < 500 && last_status_ != 401 &&
                           last_status_ != 403 && last_status_ != 404 && last_status_ != 429;
      if (!refused) throw;  // "no echo" is said with 400 or 422
      return {};
    }
    std::string text;
    for (const ReplyToken& token : reply.tokens) text += token.text;
    if (!text.starts_with(whole) && !reply.text.starts_with(whole)) return {};
    return reply.tokens;
  }

  // ln p of the likeliest tokens after a text.
  std::map<std::string, double> next_tokens(const std::string& text) const {
    const CompletionReply reply =
        ask(text, {{"max_tokens", 1}, {"temperature", 0}, {"logprobs", options_.listed_tokens}});
    check(!reply.tokens.empty() && !reply.tokens[0].alternatives.empty(), ErrorKind::kUnsupported,
          url_,
          ": answers without log-probabilities; start it with them (llama-cpp-python: --logits_all "
          "true)");
    return reply.tokens[0].alternatives;
  }

  // One continuation by echo; an empty score where the server does not echo.
  TextScore score_by_echo(const std::string& prompt, const std::string& text) const {
    const std::vector<ReplyToken> tokens = echo(prompt + text);
    TextScore score;
    const int64_t begin = characters(prompt), end = begin + characters(text);
    int64_t place = 0;
    for (const ReplyToken& token : tokens) {
      const int64_t first = token.offset.value_or(place), last = first + characters(token.text);
      place = last;
      if (last <= begin || first >= end) continue;
      check(token.log_probability.has_value(), ErrorKind::kUnsupported, url_,
            ": echoes a text without its log-probabilities");
      score.log_probabilities.push_back(*token.log_probability);
    }
    return score;
  }

  // One continuation by the lists of likeliest tokens.
  TextScore score_by_lists(const std::string& prompt, const std::string& text) const {
    TextScore score;
    for (size_t done = 0; done < text.size();) {
      const std::string_view rest = std::string_view(text).substr(done);
      size_t longest = 0;
      double value = INFINITY;  // of the least listed, unless one fits
      for (const auto& [token, log_probability] : next_tokens(prompt + text.substr(0, done))) {
        if (longest == 0) value = std::min(value, log_probability);
        if (!token.empty() && rest.starts_with(token) && token.size() > longest) {
          longest = token.size();
          value = log_probability;
        }
      }
      score.log_probabilities.push_back(value);
      if (longest == 0) break;
      done += longest;
    }
    return score;
  }

  const std::string& url() const { return url_; }
  bool can_echo = true;  // until a server says otherwise

 private:
  Options options_;
  std::string url_;
  mutable int64_t last_status_ = 0;
};

ServerLanguageModel::ServerLanguageModel(const Options& options)
    : client_(std::make_unique<Client>(options)) {}

ServerLanguageModel::~ServerLanguageModel() = default;

std::string ServerLanguageModel::name() const {
  const Options& options = client_->options();
  return options.model.empty() ? options.url : options.model + " at " + options.url;
}

std::vector<std::string> ServerLanguageModel::tokenize(const std::string& text) {
  check_utf8(text);
  if (text.empty()) return {};
  std::vector<std::string> pieces;
  int64_t place = 0;
  const int64_t end = characters(text);
  for (const ReplyToken& token : client_->echo(text)) {
    if (place >= end) break;  // written, not echoed
    pieces.push_back(token.text);
    place += characters(token.text);
  }
  check(!pieces.empty(), ErrorKind::kUnsupported, client_->url(),
        ": does not echo a text's tokens");
  return pieces;
}

std::vector<TextScore> ServerLanguageModel::score(const std::string& prompt,
                                                  const std::vector<std::string>& continuations) {
  check_texts("score", prompt, continuations);
  check_utf8(prompt);
  for (const std::string& text : continuations) check_utf8(text);
  std::vector<TextScore> scores;
  for (const std::string& text : continuations) {
    TextScore score;
    if (client_->can_echo) {
      score = client_->score_by_echo(prompt, text);
      client_->can_echo = !score.log_probabilities.empty();
    }
    if (!client_->can_echo) score = client_->score_by_lists(prompt, text);
    scores.push_back(std::move(score));
  }
  return scores;
}

int64_t ServerLanguageModel::choose(const std::string& prompt,
                                    const std::vector<std::string>& candidates) {
  check_texts("choose", prompt, candidates);
  if (candidates.size() <= kManyCandidates) return LanguageModel::choose(prompt, candidates);
  check_utf8(prompt);
  std::vector<size_t> in_play(candidates.size());
  std::iota(in_play.begin(), in_play.end(), size_t{0});
  std::string written;
  const auto goes_on = [&](size_t i, const std::string& token) {
    return std::string_view(candidates[i]).substr(written.size()).starts_with(token);
  };
  while (true) {
    std::string best;
    double best_value = -INFINITY;
    for (const auto& [token, value] : client_->next_tokens(prompt + written)) {
      if (token.empty() || value <= best_value) continue;
      if (std::ranges::none_of(in_play, [&](size_t i) { return goes_on(i, token); })) continue;
      best = token;
      best_value = value;
    }
    check(!best.empty(), ErrorKind::kUnsupported, client_->url(), ": lists no token that any of ",
          in_play.size(), " candidates goes on with; ask for more listed tokens");
    std::erase_if(in_play, [&](size_t i) { return !goes_on(i, best); });
    written += best;
    const bool done = std::ranges::all_of(
        in_play, [&](size_t i) { return candidates[i].size() == written.size(); });
    if (done || in_play.size() == 1) return static_cast<int64_t>(in_play.front());
  }
}

std::string ServerLanguageModel::complete(const std::string& prompt,
                                          const CompletionOptions& options) {
  check_arg(!prompt.empty(), "complete", "expected a prompt, got an empty text");
  check_utf8(prompt);
  validate(options);
  json request = {{"max_tokens", options.max_tokens},
                  {"temperature", options.temperature},
                  {"top_p", options.top_p},
                  {"seed", options.seed}};
  if (options.top_k > 0) request["top_k"] = options.top_k;
  if (!options.stop.empty()) request["stop"] = options.stop;
  return cut_at_stop(client_->ask(prompt, request).text, options.stop);
}

}  // namespace lexel::ar
