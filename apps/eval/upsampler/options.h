#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What `lexel eval upsampler` was asked for, as plain data (see apps/options.h).
struct EvalUpsamplerOptions {
  std::string upsampler;          // model file
  std::string model;              // the picture tokenizer's model file
  std::vector<std::string> data;  // files, folders, tars, lists
  std::string output;             // JSON report; empty: none
  std::string sheet;              // contact sheet of the first pictures; empty: none
  std::string device = "auto";
  int64_t limit = 0;         // pictures at most; 0: all
  int64_t resamples = 1000;  // of the bootstrap
  int64_t seed = 0;          // of the bootstrap
  bool quiet = false;
};

/// Measures an upsampler beside bicubic enlargement of the same drawings, against the originals: PSNR of both and their
/// difference picture by picture, each with a 95 % bootstrap interval; a table on stdout, JSON on request. Pictures smaller than
/// the upsampler's output are left out and counted.
///
/// returns  0
/// throws   what load_upsampler and load_image_tokenizer throw; Error(kUsage) with fewer than two pictures that are large enough;
///          Error(kBadData), Error(kIo) a picture that cannot be read
int run_eval_upsampler(const EvalUpsamplerOptions& options);

}  // namespace lexel::cli
