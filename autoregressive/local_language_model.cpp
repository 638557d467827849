#include "autoregressive/local_language_model.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <utility>

#include "autoregressive/token_tree.h"
#include "kernels/check.h"
#include "kernels/sampling.h"
#include "tokenizers/byte_pair_tokenizer.h"
#include "tokenizers/io/gguf.h"
#include "tokenizers/utf8.h"

namespace lexel::ar {
namespace {

constexpr int64_t kLogitRows = 128;  // at once: 25 MB of a vocabulary of 49,152

int64_t checked_context(const LlamaConfig& config, int64_t asked) {
  check_arg(asked >= 1, "ar::LocalLanguageModel", "expected a context >= 1, got ", asked);
  return std::min(asked, config.context);
}

}  // namespace

struct LocalLanguageModel::State {
  std::string name;
  BytePairTokenizer tokenizer;
  PackedLlama model;
  LlamaDecoder decoder;
  std::vector<int64_t> fed = {};             // what the decoder holds
  at::Tensor logits = {};                    // (V) float32: of the token after it
  std::vector<std::string> candidates = {};  // of the last choose(), whose tree is kept
  TokenTree tree = {};

  State(const GgufFile& file, const Options& options)
      : name(file.name()),
        tokenizer(file),
        model(pack(load_llama(file), options.precision)),
        decoder(model, checked_context(model.config, options.context)) {}

  std::vector<int64_t> prompt_ids(const std::string& prompt) const {
    std::vector<int64_t> ids = tokenizer.encode(prompt);
    if (tokenizer.beginning() >= 0) ids.insert(ids.begin(), tokenizer.beginning());
    check_arg(!ids.empty(), "ar::LocalLanguageModel", "expected a prompt with tokens, got none");
    return ids;
  }

  // The ids of a text after the prompt.
  std::vector<int64_t> text_ids(const std::string& text) const {
    std::vector<int64_t> ids = tokenizer.encode(text);
    check_arg(!ids.empty(), "ar::LocalLanguageModel",
              "expected texts after the prompt that have tokens, got one of ", text.size(),
              " bytes without");
    return ids;
  }

  // Feeds what is new of a prompt, and leaves the logits of what follows it.
  void read(const std::vector<int64_t>& ids, int64_t room) {
    const auto count = static_cast<int64_t>(ids.size());
    check_arg(count + room <= decoder.capacity(), "ar::LocalLanguageModel",
              "expected a prompt of at most ", decoder.capacity() - room, " tokens, got ", count,
              ": ask for a longer context or give fewer examples");
    const auto differ = std::mismatch(ids.begin(), ids.end(), fed.begin(), fed.end()).first;
    const auto common = static_cast<int64_t>(differ - ids.begin());
    const bool is_same = common == count && fed.size() == ids.size();
    if (is_same && logits.defined()) return;
    const int64_t kept = std::min(common, count - 1);  // the last is read again for its logits
    logits.reset();
    fed.resize(static_cast<size_t>(kept));
    decoder.rewind(kept);
    append({ids.begin() + kept, ids.end()});
  }

  void append(const std::vector<int64_t>& ids) {
    logits = decoder.feed(ids);
    fed.insert(fed.end(), ids.begin(), ids.end());
  }

  // ln p of each node of a tree given its parents; the inner nodes fit into the context.
  std::vector<double> node_scores(const TokenTree& branches) {
    std::vector<int64_t> inner, tokens, parents;  // inner: nodes that have children
    std::vector<int64_t> row_of(branches.nodes.size(), -1);
    for (size_t i = 1; i < branches.nodes.size(); ++i) {
      const TokenTree::Node& node = branches.nodes[i];
      if (node.children.empty()) continue;
      row_of[i] = static_cast<int64_t>(inner.size());
      inner.push_back(static_cast<int64_t>(i));
      tokens.push_back(node.token);
      parents.push_back(node.parent == 0 ? -1 : row_of[static_cast<size_t>(node.parent)]);
    }
    std::vector<double> scores(branches.nodes.size(), 0.0);
    const auto take = [&](int64_t node, const at::Tensor& row_logits) {
      const at::Tensor all = at::log_softmax(row_logits, -1, at::kFloat);
      const float* const values = all.const_data_ptr<float>();
      for (const auto& [token, child] : branches.at(node).children)
        scores[static_cast<size_t>(child)] = static_cast<double>(values[token]);
    };
    take(0, logits);
    if (inner.empty()) return scores;
    const at::Tensor hidden = decoder.look_ahead(tokens, parents);
    for (int64_t row = 0; row < hidden.size(0); row += kLogitRows) {
      const int64_t end = std::min(row + kLogitRows, hidden.size(0));
      const at::Tensor rows = decoder.logits(hidden.slice(0, row, end));
      for (int64_t i = row; i < end; ++i) take(inner[static_cast<size_t>(i)], rows[i - row]);
    }
    return scores;
  }
};

LocalLanguageModel::LocalLanguageModel(const std::string& path, const Options& options)
    : state_(std::make_unique<State>(GgufFile(path), options)) {}

LocalLanguageModel::~LocalLanguageModel() = default;

std::string LocalLanguageModel::name() const { return state_->name; }

std::vector<std::string> LocalLanguageModel::tokenize(const std::string& text) {
  std::vector<std::string> pieces;
  for (const int64_t id : state_->tokenizer.encode(text))
    pieces.push_back(state_->tokenizer.decode({id}));
  return pieces;
}

std::vector<TextScore> LocalLanguageModel::score(const std::string& prompt,
                                                 const std::vector<std::string>& continuations) {
  check_texts("score", prompt, continuations);
  State& state = *state_;
  const std::vector<int64_t> ids = state.prompt_ids(prompt);
  std::vector<std::vector<int64_t>> rows;
  int64_t longest = 0;
  for (const std::string& text : continuations) {
    rows.push_back(state.text_ids(text));
    longest = std::max(longest, static_cast<int64_t>(rows.back().size()));
  }
  state.read(ids, longest);

  // As many continuations at once as there is room for their tokens.
  const int64_t room = state.decoder.capacity() - state.decoder.length();
  std::vector<TextScore> scores;
  for (size_t first = 0; first < rows.size();) {
    TokenTree tree;
    size_t last = first;
    int64_t taken = 0;
    while (last < rows.size() &&
           (last == first || taken + static_cast<int64_t>(rows[last].size()) <= room)) {
      taken += static_cast<int64_t>(rows[last].size());
      tree.add(rows[last++]);
    }
    const std::vector<double> of_node = state.node_scores(tree);
    for (const int64_t end : tree.ends) {
      TextScore score;
      for (int64_t node = end; node != 0; node = tree.at(node).parent)
        score.log_probabilities.push_back(of_node[static_cast<size_t>(node)]);
      std::reverse(score.log_probabilities.begin(), score.log_probabilities.end());
      scores.push_back(std::move(score));
    }
    first = last;
  }
  return scores;
}

int64_t LocalLanguageModel::choose(const std::string& prompt,
                                   const std::vector<std::string>& candidates) {
  check_texts("choose", prompt, candidates);
  State& state = *state_;
  if (state.candidates != candidates) {
    TokenTree fresh;
    for (const std::string& text : candidates) fresh.add(state.text_ids(text));
    state.tree = std::move(fresh);
    state.candidates = candidates;
  }
  const TokenTree& tree = state.tree;
  state.read(state.prompt_ids(prompt), 0);
  int64_t node = 0;
  while (!tree.at(node).children.empty()) {
    const float* const values = state.logits.const_data_ptr<float>();
    const auto& children = tree.at(node).children;
    const auto best = std::max_element(
        children.begin(), children.end(),
        [&](const auto& a, const auto& b) { return values[a.first] < values[b.first]; });
    node = best->second;
    if (tree.at(node).children.empty()) break;
    check_arg(state.decoder.length() < state.decoder.capacity(), "choose",
              "expected candidates that fit the context of ", state.decoder.capacity(), " tokens");
    state.append({tree.at(node).token});
  }
  return tree.at(node).row;
}

std::string LocalLanguageModel::complete(const std::string& prompt,
                                         const CompletionOptions& options) {
  check_arg(!prompt.empty(), "complete", "expected a prompt, got an empty text");
  validate(options);
  State& state = *state_;
  state.read(state.prompt_ids(prompt), 0);
  const kernels::SamplingOptions sampling{1.0, options.temperature,
                                          std::min(options.top_k, state.model.config.vocabulary),
                                          options.top_p, options.seed};
  std::vector<int64_t> written;
  std::string text;
  for (int64_t place = 0; place < options.max_tokens; ++place) {
    const at::Tensor picture = at::zeros({1}, at::kLong), position = at::zeros({1}, at::kLong);
    position.fill_(place);
    const int64_t id = kernels::sample(state.logits.unsqueeze(0), {}, picture, position, sampling)
                           .ids.item<int64_t>();
    if (id == state.tokenizer.end()) break;
    written.push_back(id);
    text = state.tokenizer.decode(written);
    if (cut_at_stop(text, options.stop).size() < text.size()) break;
    if (place + 1 == options.max_tokens || state.decoder.length() == state.decoder.capacity())
      break;
    state.append({id});
  }
  text = cut_at_stop(text, options.stop);
  return text.substr(0, first_invalid_utf8(text).value_or(text.size()));  // a character cut inside
}

}  // namespace lexel::ar
