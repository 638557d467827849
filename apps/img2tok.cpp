#include "apps/img2tok.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <filesystem>
#include <iostream>
#include <utility>

#include "apps/picture_stream.h"
#include "apps/progress.h"
#include "apps/spool.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/token_file.h"
#include "tokenizers/io/word_text.h"
#include "tokenizers/load.h"

namespace lexel::cli {
namespace {

/// Gathers the tiles of several pictures into full batches and hands the tokens back to their pictures.
class Batcher {
 public:
  Batcher(const ImageTokenizer& tokenizer, int64_t batch, std::vector<TokenizedPicture>& pictures)
      : tokenizer_(tokenizer), batch_(batch), pictures_(pictures) {}

  /// tiles   (T, 3, S, S) of picture number `picture`
  void add(size_t picture, const at::Tensor& tiles) {
    pictures_[picture].tokens = at::empty({tiles.size(0), tokenizer_.info().tokens()}, at::kInt);
    for (int64_t first = 0; first < tiles.size(0);) {
      const int64_t n = std::min(batch_ - waiting_, tiles.size(0) - first);
      parts_.push_back({picture, first, tiles.narrow(0, first, n)});
      waiting_ += n;
      first += n;
      if (waiting_ == batch_) flush();
    }
  }

  void flush() {
    if (waiting_ == 0) return;
    std::vector<at::Tensor> tiles;
    for (const Part& part : parts_) tiles.push_back(part.tiles);
    const at::Tensor tokens = tokenizer_.encode(at::cat(tiles));  // (waiting, N)
    int64_t row = 0;
    for (const Part& part : parts_) {
      const int64_t n = part.tiles.size(0);
      pictures_[part.picture].tokens.narrow(0, part.first, n).copy_(tokens.narrow(0, row, n));
      row += n;
    }
    parts_.clear();
    waiting_ = 0;
  }

 private:
  struct Part {
    size_t picture;
    int64_t first;
    at::Tensor tiles;
  };
  const ImageTokenizer& tokenizer_;
  int64_t batch_;
  std::vector<TokenizedPicture>& pictures_;
  std::vector<Part> parts_;
  int64_t waiting_ = 0;  // tiles in parts_
};

std::string resolve_format(const Img2TokOptions& options) {
  if (!options.format.empty()) return options.format;
  const std::string extension = std::filesystem::path(options.output).extension().string();
  if (extension == ".npy") return "npy";
  if (extension == ".json") return "json";
  if (extension == ".txt") return "text";
  return "safetensors";
}

void write(const TokenFile& file, const TokenizerInfo& info, const std::string& format,
           const std::string& output) {
  if (format == "safetensors") {
    if (output != "-") return write_token_file(output, file);
    const Spool spool;
    write_token_file(spool.path(), file);
    return spool.empty_to_stdout();
  }
  const bool words = format == "text" && !info.words.empty();
  const std::string text = words ? words_of_tokens(file, info) : format_tokens(file, format);
  output == "-" ? write_stdout(text) : write_file(output, text);
}

}  // namespace

int run_img2tok(const Img2TokOptions& options) {
  const std::string format = resolve_format(options);
  const auto tokenizer = load_image_tokenizer(options.model, options.device);
  const TokenizerInfo& info = tokenizer->info();

  TokenFile file = empty_token_file(info);
  if (options.layers > 0) first_layers(file, options.layers);  // refused before the work
  if (!options.fit.empty()) file.preprocess.fit = options.fit;

  std::vector<std::pair<std::string, std::string>> skipped;  // what, why
  {
    PictureStream stream(options.inputs, file.preprocess, options.threads);
    Progress progress("img2tok", stream.size_hint(), "pictures", options.quiet);
    Batcher batcher(*tokenizer, options.batch, file.pictures);
    StreamedPicture picture;
    while (stream.next(picture)) {
      if (picture.problem.empty()) {
        file.pictures.push_back({picture.name,
                                 picture.prepared.layout,
                                 {},
                                 picture.label.caption,
                                 picture.label.label});
        batcher.add(file.pictures.size() - 1, picture.prepared.tiles);
      } else {
        check(options.skip_bad, picture.problem_kind, picture.problem,
              stream.size_hint() == 1 ? "" : " (--skip-bad leaves such pictures out)");
        skipped.emplace_back(picture.name, picture.problem);
      }
      progress.update(static_cast<int64_t>(file.pictures.size() + skipped.size()));
    }
    batcher.flush();
  }
  check(!file.pictures.empty(), ErrorKind::kBadData,
        skipped.empty() ? "no pictures in the inputs"
                        : concat("none of ", skipped.size(),
                                 " pictures could be read; first: ", skipped.front().second));
  if (options.layers > 0) file = first_layers(file, options.layers);
  write(file, info, format, options.output);
  for (const auto& [name, why] : skipped) std::cerr << "img2tok: skipped " << why << "\n";
  if (!skipped.empty()) {
    std::cerr << "img2tok: skipped " << skipped.size() << " of "
              << skipped.size() + file.pictures.size() << " pictures\n";
  }
  return 0;
}

}  // namespace lexel::cli
