#include "apps/words/words.h"

#include <ATen/core/Tensor.h>
#include <algorithm>

#include "apps/spool.h"
#include "apps/words/word_picture.h"
#include "apps/words/word_tokenizer.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/image.h"

namespace lexel::cli {
namespace {

constexpr int64_t kWidestRow = 8;  // words that a row of a terminal holds

/// Columns that a text takes: UTF-8 characters.
size_t columns_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

std::string word_table(const std::vector<std::string>& words, const std::vector<int64_t>& sides,
                       int64_t layers) {
  std::string out;
  size_t first = 0;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const auto side = static_cast<size_t>(sides[static_cast<size_t>(layer)]);
    size_t widest = 0;
    for (size_t n = 0; n < side * side; ++n) {
      widest = std::max(widest, columns_of(words[first + n]));
    }
    out += concat("layer ", layer + 1, ", ", side, " x ", side, "\n");
    for (size_t n = 0; n < side * side; ++n) {
      const std::string& word = words[first + n];
      const bool last = n % side == side - 1;
      out += (n % side == 0 ? "  " : "") + word;
      out += last ? "\n" : std::string(widest - columns_of(word) + 2, ' ');
    }
    first += side * side;
  }
  return out;
}

int run_words(const WordsOptions& options) {
  if (!options.output.empty()) {
    const AtomicFile trial(options.output);  // what cannot be written is found out before the work
  }
  const auto tokenizer = load_word_tokenizer(options.model, options.device);
  const std::vector<int64_t>& sides = tokenizer->info().layer_sides;
  const auto all = static_cast<int64_t>(sides.size());
  check_arg(options.layers <= all, "--layers", "expected 1 to ", all, ", got ", options.layers);
  int64_t shown = options.layers;
  if (shown == 0) {
    shown = std::count_if(sides.begin(), sides.end(), [](int64_t s) { return s <= kWidestRow; });
  }

  const at::Tensor picture = word_square(*tokenizer, read_image(options.picture));
  const std::vector<std::string> words = words_of_square(*tokenizer, picture);
  if (!options.output.empty()) {
    write_image(options.output, word_picture(picture[0], words, sides));
  }
  std::string table = word_table(words, sides, shown);
  if (shown < all) {
    table += concat("(", all - shown, " more layers: --layers ", all, ")\n");
  }
  write_stdout(table);
  return 0;
}

}  // namespace lexel::cli
