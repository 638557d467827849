#include "tokenizers/train_text_tokenizer.h"

#include <cstdio>
#include <cstring>
#include <sentencepiece_trainer.h>
#include <set>
#include <sstream>
#include <unordered_map>

#include "kernels/check.h"
#include "tokenizers/sentencepiece_tokenizer.h"
#include "tokenizers/utf8.h"

namespace lexel {

namespace {

constexpr int64_t kSymbolsAndBytes = 4 + 256;
constexpr int64_t kMaxVocabulary = 1'000'000;
constexpr size_t kMaxTotalBytes = size_t{256} << 20;  // the library counts characters in 31 bits

/// What the library reads captions through: each of them, then each distinct word twice in a row. The library takes
/// as pieces only what is followed by different things: in captions of one making, where a space is always
/// behind "fish", "fish" would be none.
class Captions : public sentencepiece::SentenceIterator {
 public:
  explicit Captions(const std::vector<std::string>& captions) : captions_(captions) {
    for (const std::string& caption : captions) {
      std::istringstream words(caption);
      for (std::string word; words >> word;) words_.insert(word + " " + word);
    }
    word_ = words_.begin();
  }
  bool done() const override { return at_ == captions_.size() && word_ == words_.end(); }
  void Next() override {
    if (at_ < captions_.size())
      ++at_;
    else
      ++word_;
  }
  const std::string& value() const override {
    return at_ < captions_.size() ? captions_[at_] : *word_;
  }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& captions_;
  size_t at_ = 0;
  std::set<std::string> words_;
  std::set<std::string>::const_iterator word_;
};

sentencepiece::util::Status train(const std::vector<std::string>& captions,
                                  const TextTrainingOptions& options, int64_t vocabulary,
                                  std::string& serialized) {
  const TextSymbols symbols;
  const std::unordered_map<std::string, std::string> settings = {
      {"model_type", "unigram"},
      {"vocab_size", std::to_string(vocabulary)},
      {"hard_vocab_limit", "false"},  // fewer pieces where the captions do not justify more
      {"character_coverage", std::to_string(options.character_coverage)},
      {"byte_fallback", "true"},
      {"required_chars", "\xE2\x96\x81"},  // the mark of a space
      {"normalization_rule_name", options.case_folding ? "nmt_nfkc_cf" : "nmt_nfkc"},
      {"pad_id", std::to_string(symbols.padding)},
      {"eos_id", std::to_string(symbols.end)},
      {"bos_id", std::to_string(symbols.beginning)},
      {"unk_id", std::to_string(symbols.unknown)},
      {"max_sentence_length", "1073741824"},  // the default drops longer captions
      {"num_threads", "1"},                   // sums in one order
      {"minloglevel", "3"},                   // silent but for what ends the process
  };
  Captions iterator(captions);
  return sentencepiece::SentencePieceTrainer::Train(settings, &iterator, &serialized);
}

/// Captions that say something after normalisation: on none at all the library would end the process.
/// A tokenizer of one letter normalises as the one to be trained will.
std::vector<std::string> meaningful(const std::vector<std::string>& captions,
                                    const TextTrainingOptions& options) {
  std::string letter;
  const auto status = train({"a"}, options, kSymbolsAndBytes + 8, letter);
  check(status.ok(), ErrorKind::kInternal, "SentencePiece cannot be trained: ", status.message());
  const auto probe = text_tokenizer_from_bytes(letter, "probe");
  std::vector<std::string> kept;
  for (const std::string& caption : captions)
    if (!probe->encode(caption).empty()) kept.push_back(caption);
  return kept;
}

}  // namespace

TextTrainingOptions parti_text_options() { return {}; }

TrainedTextTokenizer train_text_tokenizer(const std::vector<std::string>& captions,
                                          const TextTrainingOptions& options) {
  check_arg(options.vocabulary > kSymbolsAndBytes && options.vocabulary <= kMaxVocabulary,
            "train_text_tokenizer", "expected a vocabulary from ", kSymbolsAndBytes + 1,
            " (4 symbols, 256 bytes and a piece) to ", kMaxVocabulary, ", got ",
            options.vocabulary);
  check_arg(options.character_coverage >= 0.98 && options.character_coverage <= 1.0,
            "train_text_tokenizer", "expected a character coverage from 0.98 to 1, got ",
            options.character_coverage);
  size_t bytes = 0;
  for (size_t i = 0; i < captions.size(); ++i) {
    bytes += captions[i].size();
    if (const auto at = first_invalid_utf8(captions[i]))
      fail(ErrorKind::kBadData, "caption ", i, ": text is not UTF-8 at byte ", *at);
  }
  check_arg(bytes <= kMaxTotalBytes, "train_text_tokenizer", "expected captions of at most ",
            kMaxTotalBytes >> 20, " MiB in all, got ", bytes >> 20, "; give a sample of them");
  const std::vector<std::string> kept = meaningful(captions, options);
  check_arg(!kept.empty(), "train_text_tokenizer", "expected captions that say something, got ",
            captions.size(), " without a word");

  TrainedTextTokenizer out;
  const auto status = train(kept, options, options.vocabulary, out.serialized);
  if (!status.ok()) {
    // "... smaller than required_chars. 300 vs 340. ..."
    const char* needed = std::strstr(status.message(), "than required_chars.");
    int64_t given = 0, least = 0;
    if (needed && std::sscanf(needed, "than required_chars. %ld vs %ld", &given, &least) == 2)
      check_arg(false, "train_text_tokenizer", "expected a vocabulary of at least ", least,
                " (4 symbols, 256 bytes, and the characters of the captions), got ",
                options.vocabulary);
    fail(ErrorKind::kBadData, "SentencePiece cannot learn from these captions: ", status.message());
  }
  out.vocabulary = text_tokenizer_from_bytes(out.serialized, "trained model")->vocabulary_size();
  out.clipped = out.vocabulary < options.vocabulary;
  return out;
}

}  // namespace lexel
