#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lexel::ar {

/// How likely a text is, token by token.
struct TextScore {
  std::vector<double> log_probabilities;  // ln p of each token of the text, given all before it
  double total() const;                   // ln p of the text
  double mean() const;                    // of its tokens
};

/// Greedy decoding among scored continuations of one prompt. Those that begin alike score alike there, so the scores hold
/// every step: at each place the best decides, and continuations with a lower one (another token) are out. One that is the
/// whole beginning of another loses to it.
///
/// returns  its index; the lowest of equals
/// throws   Error(kUsage) on no scores
int64_t greedy_choice(const std::vector<TextScore>& scores);

/// How a text is written on.
struct CompletionOptions {
  int64_t max_tokens = 16;
  std::vector<std::string> stop = {"\n"};  // the text ends before the first of these; may be empty
  double temperature = 0.0;                // 0: the likeliest token each time
  int64_t top_k = 0;                       // 0: all
  double top_p = 1.0;
  uint64_t seed = 0;  // of the draws
};

/// A frozen language model: text in, probabilities and text out. Prompts are UTF-8 and not empty. One call at a time.
///
/// A continuation begins where the prompt ends, and tokens do not cross that border. English tokens hold the space before
/// their word, so a prompt ends without a space and the continuation starts with it: "Output:" and " cat".
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  virtual std::string name() const = 0;  // for reports: a file or an address

  /// The text of each token of a text; joined they are the text.
  /// throws   Error(kBadData) on bytes that are not UTF-8
  virtual std::vector<std::string> tokenize(const std::string& text) = 0;

  /// How likely each continuation is after the prompt. Continuations share the work on the prompt.
  ///
  /// continuations  not empty, and none of them empty
  /// returns        one score a continuation
  /// throws         Error(kUsage) an empty text, or more than the model's context holds; of a server also kIo, kBadData and
  ///                kUnsupported (server_language_model.h)
  virtual std::vector<TextScore> score(const std::string& prompt,
                                       const std::vector<std::string>& continuations) = 0;

  /// The candidate that greedy decoding writes when each token must go on with a candidate: greedy_choice, with less work where
  /// a model can. Where one candidate may be the beginning of another, let all end in a sign of their own ("\n").
  ///
  /// returns  its index; the lowest of equal candidates
  /// throws   as score()
  virtual int64_t choose(const std::string& prompt, const std::vector<std::string>& candidates);

  /// What follows the prompt, up to a stop text, the model's own end or max_tokens.
  ///
  /// throws   as score(); Error(kUsage) options out of range
  virtual std::string complete(const std::string& prompt, const CompletionOptions& options) = 0;
};

/// Checks of every implementation. throws Error(kUsage) on an empty prompt, no texts, or an empty one
void check_texts(const char* function, const std::string& prompt,
                 const std::vector<std::string>& texts);

/// throws  Error(kUsage) max_tokens < 1, temperature < 0 or not finite, top_k < 0, top_p outside (0, 1], an empty stop
void validate(const CompletionOptions& options);

/// The text up to the first of the stops; all of it where there is none.
std::string cut_at_stop(const std::string& text, const std::vector<std::string>& stops);

}  // namespace lexel::ar
