#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "apps/txt2img/captions.h"
#include "apps/txt2img/options.h"
#include "apps/txt2img/record.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/token_file.h"

namespace lexel::cli {

/// One picture to be drawn.
struct Job {
  Caption caption;
  int64_t number = 0;  // of the picture in this run
};

/// One picture that was drawn.
struct Drawn {
  Job job;
  Image image;
  at::Tensor tokens;  // (N) int64
  Record record;
};

/// Where the pictures of a run go: a file, a folder, stdout; the contact sheet and the token file beside them.
class Outputs {
 public:
  /// Decides, makes the folder, and tries whether files can be written, before any work is done.
  ///
  /// throws   Error(kUsage) several pictures into one file, another extension than a picture's, too many for a sheet;
  ///          Error(kIo) a folder or file that cannot be written
  Outputs(const Txt2ImgOptions& options, const std::vector<Job>& jobs);

  /// Writes the picture; its record goes into a PNG file. Sheet and token file wait for finish().
  void add(const Drawn& drawn, const TokenizerInfo& tokenizer);

  /// Writes sheet and token file. Returns what was written, for people: "fish.png", "12 pictures into fish/".
  std::string finish();

 private:
  const Txt2ImgOptions& options_;
  std::string folder_;                    // empty: one file, or none
  std::string file_;                      // "-" is stdout; empty: none
  std::vector<std::vector<Image>> rows_;  // of the sheet
  size_t a_row_ = 1;                      // pictures
  size_t written_ = 0;
  TokenFile tokens_;
};

}  // namespace lexel::cli
