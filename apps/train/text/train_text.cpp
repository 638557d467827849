#include <algorithm>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "apps/spool.h"
#include "apps/train/text/captions.h"
#include "apps/train/text/options.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/sentencepiece_tokenizer.h"
#include "tokenizers/train_text_tokenizer.h"

namespace lexel::cli {

namespace {

/// How a tokenizer fares on captions, as lines for a reader.
std::string coverage(const TextTokenizer& tokenizer, const std::vector<std::string>& captions,
                     int64_t max_tokens) {
  int64_t pieces = 0, bytes = 0, longest = 0, cut = 0;
  for (const std::string& caption : captions) {
    const std::vector<int64_t> ids = tokenizer.encode(caption);
    const auto tokens = static_cast<int64_t>(ids.size()) + 1;  // with the end symbol
    pieces += tokens - 1;
    longest = std::max(longest, tokens);
    cut += tokens > max_tokens;
    for (const int64_t id : ids) bytes += tokenizer.is_byte(id);
  }
  const auto share = [](int64_t part, int64_t whole) {
    return whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  };
  const auto count = static_cast<double>(captions.size());
  std::ostringstream out;
  out << std::fixed << std::setprecision(2);
  out << "captions: " << captions.size() << "\n"
      << "vocabulary: " << tokenizer.vocabulary_size()
      << " pieces, 4 symbols and 256 bytes of them\n"
      << "tokens a caption: " << static_cast<double>(pieces) / count + 1 << " (longest " << longest
      << ", end symbol included)\n"
      << "byte pieces: " << share(bytes, pieces) << " % of all\n"
      << "cut at " << max_tokens << " tokens: " << cut << " captions ("
      << share(cut, static_cast<int64_t>(captions.size())) << " %)\n"
      << "fingerprint: " << tokenizer.fingerprint() << "\n";
  return out.str();
}

}  // namespace

int run_train_text(const TrainTextOptions& options) {
  const std::vector<std::string> captions = train::read_captions(options.captions);
  TextTrainingOptions training;
  training.vocabulary = options.vocabulary;
  training.character_coverage = options.character_coverage;
  training.case_folding = !options.keep_case;
  const TrainedTextTokenizer trained = train_text_tokenizer(captions, training);
  const auto tokenizer = text_tokenizer_from_bytes(trained.serialized, options.output);
  write_file(options.output, trained.serialized);
  if (trained.clipped && !options.quiet)
    std::cerr << "lexel train text: " << trained.vocabulary << " pieces in place of "
              << options.vocabulary << ": these captions do not justify more\n";
  write_stdout(coverage(*tokenizer, captions, options.max_tokens));
  return 0;
}

}  // namespace lexel::cli
