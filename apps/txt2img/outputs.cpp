#include "apps/txt2img/outputs.h"

#include <cctype>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "apps/spool.h"
#include "kernels/check.h"
#include "tokenizers/image_tokenizer.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/contact_sheet.h"

namespace lexel::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxSheetPictures = 400;

void make_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  check(!error, ErrorKind::kIo, folder, ": ", error.message());
}

/// A file that is opened beside its place and given up: what cannot be written is found out before hours of work.
void try_to_write(const std::string& path) { const AtomicFile trial(path); }

/// "0007-a-red-fish": the number first, so that names sort as pictures were asked for.
std::string numbered(int64_t number, const std::string& caption) {
  char digits[24];
  std::snprintf(digits, sizeof digits, "%04lld", static_cast<long long>(number));
  return concat(digits, "-", slug(caption));
}

std::string extension_of(const std::string& path) {
  std::string extension = fs::path(path).extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

/// Refuses, before any work, what write_image would refuse after it.
void try_to_write_picture(const std::string& path) {
  const std::string extension = extension_of(path);
  check(extension == ".png" || extension == ".jpg" || extension == ".jpeg" || extension == ".webp",
        ErrorKind::kUsage, path, ": expected a name that ends in .png, .jpg, .jpeg or .webp");
  try_to_write(path);
}

void write_picture(const std::string& path, const Drawn& drawn) {
  if (extension_of(path) == ".png") {
    write_png(path, drawn.image, to_png_text(drawn.record));
  } else {
    write_image(path, drawn.image);
  }
}

}  // namespace

Outputs::Outputs(const Txt2ImgOptions& options, const std::vector<Job>& jobs) : options_(options) {
  const std::string& output = options.output;
  const bool many = jobs.size() > 1;
  if (output == "-" || (!output.empty() && output.back() != '/' && !fs::is_directory(output))) {
    check(!many, ErrorKind::kUsage, output == "-" ? "standard output" : output,
          ": expected a folder (end it with /) for ", jobs.size(), " pictures");
    file_ = output;
  } else if (!output.empty()) {
    folder_ = output;
  } else if (options.grid.empty()) {  // nothing was said: a name of our own
    (many ? folder_ : file_) = many ? "pictures" : concat(slug(jobs.at(0).caption.text), ".png");
  }
  if (!file_.empty() && file_ != "-") try_to_write_picture(file_);
  for (const std::string& folder : {folder_, options.preview}) {
    if (folder.empty()) continue;
    make_folder(folder);
    try_to_write((fs::path(folder) / "trial.png").string());
  }
  if (!options.grid.empty()) {
    check_arg(jobs.size() <= kMaxSheetPictures, "--grid", "expected at most ", kMaxSheetPictures,
              " pictures, got ", jobs.size());
    try_to_write_picture(options.grid);
    // One caption a row where each is drawn several times, else roughly a square.
    a_row_ = options.count > 1
                 ? static_cast<size_t>(options.count)
                 : static_cast<size_t>(std::ceil(std::sqrt(static_cast<double>(jobs.size()))));
  }
  if (!options.tokens.empty()) try_to_write(options.tokens);
}

void Outputs::add(const Drawn& drawn, const TokenizerInfo& tokenizer) {
  const std::string name = numbered(drawn.job.number, drawn.job.caption.text);
  if (file_ == "-") {
    const std::vector<uint8_t> png = encode_png(drawn.image, to_png_text(drawn.record));
    write_stdout(std::string(png.begin(), png.end()));
  } else if (!file_.empty()) {
    write_picture(file_, drawn);
  } else if (!folder_.empty()) {
    write_picture((fs::path(folder_) / (name + ".png")).string(), drawn);
  }
  if (!options_.grid.empty()) {
    if (written_ % a_row_ == 0) rows_.emplace_back();
    rows_.back().push_back(captioned(drawn.image, drawn.job.caption.text));
  }
  if (!options_.tokens.empty()) {
    if (written_ == 0) tokens_ = empty_token_file(tokenizer);
    const int64_t size = tokenizer.image_size;
    TokenizedPicture picture;
    picture.name = name;
    picture.layout = make_layout(size, size, tokenizer.preprocess);
    picture.tokens = drawn.tokens.unsqueeze(0).to(at::kInt);  // (1, N)
    picture.caption = drawn.job.caption.text;
    tokens_.pictures.push_back(std::move(picture));
  }
  ++written_;
}

std::string Outputs::finish() {
  std::vector<std::string> what;
  if (!file_.empty() && file_ != "-") what.push_back(file_);
  if (!folder_.empty()) {
    what.push_back(concat(written_, written_ == 1 ? " picture" : " pictures", " into ",
                          (fs::path(folder_) / "").string()));
  }
  if (!rows_.empty()) {
    write_image(options_.grid, contact_sheet(rows_));
    what.push_back(options_.grid);
  }
  if (!tokens_.pictures.empty()) {
    write_token_file(options_.tokens, tokens_);
    what.push_back(options_.tokens);
  }
  std::string text;
  for (const std::string& one : what) text += concat(text.empty() ? "" : ", ", one);
  return text;
}

}  // namespace lexel::cli
