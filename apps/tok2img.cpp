#include "apps/tok2img.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "apps/output_names.h"
#include "apps/picture_stream.h"
#include "apps/progress.h"
#include "apps/spool.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/contact_sheet.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/token_file.h"
#include "tokenizers/io/word_text.h"
#include "tokenizers/load.h"

namespace lexel::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxSheetPictures = 400;

constexpr int64_t kMaxTextBytes = int64_t{1} << 28;

/// A token file starts with the length of its header, which fits into it, and "{"; anything else may be words.
bool is_token_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  uint8_t head[9] = {};
  if (!in.read(reinterpret_cast<char*>(head), sizeof head)) return false;
  uint64_t length = 0;
  for (int byte = 7; byte >= 0; --byte) length = length << 8 | head[byte];
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  return !error && head[8] == '{' && length <= size;
}

/// name   for messages about words
TokenFile read_tokens(const std::string& path, const std::string& name, const TokenizerInfo& info) {
  if (info.words.empty() || is_token_file(path)) return read_token_file(path);
  const std::vector<uint8_t> bytes = read_file(path, kMaxTextBytes);
  return tokens_of_words(std::string(bytes.begin(), bytes.end()), info, name);
}

TokenFile read_input(const Tok2ImgOptions& options, const TokenizerInfo& info) {
  TokenFile file;
  if (options.tokens == "-") {
    Spool spool;
    spool.fill_from_stdin();
    file = read_tokens(spool.path(), "stdin", info);
  } else {
    file = read_tokens(options.tokens, options.tokens, info);
  }
  return options.layers == 0 ? file : first_layers(file, options.layers);
}

/// Decodes in forward passes of at most `batch` tiles.
at::Tensor draw(const ImageTokenizer& tokenizer, const at::Tensor& tokens, int64_t batch) {
  std::vector<at::Tensor> tiles;
  for (int64_t first = 0; first < tokens.size(0); first += batch) {
    tiles.push_back(
        tokenizer.decode(tokens.narrow(0, first, std::min(batch, tokens.size(0) - first))));
  }
  return at::cat(tiles);  // (T, 3, S, S)
}

/// The end of the run of pictures that starts at `first` and whose tiles fill one batch (or one picture).
size_t end_of_batch(const std::vector<TokenizedPicture>& pictures, size_t first, int64_t batch) {
  size_t last = first;
  int64_t tiles = 0;
  do {
    tiles += pictures[last++].tokens.size(0);
  } while (last < pictures.size() && tiles + pictures[last].tokens.size(0) <= batch);
  return last;
}

/// Where each picture goes: one file, or names inside a folder. Empty output: nowhere.
std::vector<std::string> destinations(const Tok2ImgOptions& options, const TokenFile& file) {
  if (options.output.empty()) return std::vector<std::string>(file.pictures.size());
  const bool folder = options.output.back() == '/' || fs::is_directory(options.output);
  if (!folder) {
    check(file.pictures.size() == 1, ErrorKind::kUsage, options.output,
          ": expected a folder (end it with /) for ", file.pictures.size(), " pictures");
    return {options.output};
  }
  std::vector<std::string> names;
  for (const TokenizedPicture& picture : file.pictures) names.push_back(picture.name);
  names = output_names(names, options.extension);
  for (std::string& name : names) {
    const fs::path path = fs::path(options.output) / name;
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    check(!error, ErrorKind::kIo, path.parent_path().string(), ": ", error.message());
    name = path.string();
  }
  return names;
}

/// The pictures that were tokenized, as the model saw them, by name.
std::map<std::string, Image> read_originals(const Tok2ImgOptions& options, const TokenFile& file) {
  std::map<std::string, Image> originals;
  if (options.originals.empty()) return originals;
  PictureStream stream(options.originals, file.preprocess, 0);
  StreamedPicture picture;
  while (stream.next(picture)) {
    if (!picture.problem.empty()) continue;
    originals[picture.name] =
        restore(picture.prepared.tiles, picture.prepared.layout, file.preprocess);
  }
  return originals;
}

/// A roughly square sheet; each picture beside its original where that is known.
void write_sheet(const Tok2ImgOptions& options, const TokenFile& file,
                 const std::vector<Image>& drawn) {
  const std::map<std::string, Image> originals = read_originals(options, file);
  const size_t a_row = static_cast<size_t>(
      std::ceil(std::sqrt(static_cast<double>(drawn.size()) / (originals.empty() ? 1.0 : 2.0))));
  std::vector<std::vector<Image>> rows;
  for (size_t i = 0; i < drawn.size(); ++i) {
    if (i % a_row == 0) rows.emplace_back();
    if (!originals.empty()) {
      const auto original = originals.find(file.pictures[i].name);
      check(original != originals.end(), ErrorKind::kUsage, "--originals: no picture named ",
            file.pictures[i].name);
      rows.back().push_back(original->second);
    }
    rows.back().push_back(drawn[i]);
  }
  std::vector<std::string> titles;
  for (size_t i = 0; i < rows.front().size(); ++i) {
    titles.emplace_back(originals.empty() ? "" : i % 2 == 0 ? "original" : "tokens");
  }
  write_image(options.sheet, contact_sheet(rows, titles));
}

}  // namespace

int run_tok2img(const Tok2ImgOptions& options) {
  check_arg(!options.output.empty() || !options.sheet.empty(), "tok2img",
            "expected OUTPUT or --sheet, got neither");
  const auto tokenizer = load_image_tokenizer(options.model, options.device);
  const TokenFile file = read_input(options, tokenizer->info());
  check_same_tokenizer(file, tokenizer->info());
  const std::vector<std::string> paths = destinations(options, file);
  check_arg(options.sheet.empty() || file.pictures.size() <= kMaxSheetPictures, "--sheet",
            "expected at most ", kMaxSheetPictures, " pictures, got ", file.pictures.size());

  std::vector<Image> drawn;  // kept for the sheet only
  Progress progress("tok2img", static_cast<int64_t>(file.pictures.size()), "pictures",
                    options.quiet);
  for (size_t first = 0; first < file.pictures.size();) {
    const size_t last = end_of_batch(file.pictures, first, options.batch);
    std::vector<at::Tensor> tokens;
    for (size_t i = first; i < last; ++i) tokens.push_back(file.pictures[i].tokens);
    const at::Tensor tiles = draw(*tokenizer, at::cat(tokens), options.batch);
    for (int64_t row = 0; first < last; ++first) {
      const TokenizedPicture& picture = file.pictures[first];
      const int64_t n = picture.tokens.size(0);
      Image image = restore(tiles.narrow(0, row, n), picture.layout, file.preprocess);
      if (!paths[first].empty()) write_image(paths[first], image);
      if (!options.sheet.empty()) drawn.push_back(std::move(image));
      row += n;
    }
    progress.update(static_cast<int64_t>(first));
  }
  if (!options.sheet.empty()) write_sheet(options, file, drawn);
  return 0;
}

}  // namespace lexel::cli
