#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What `lexel eval tokenizer` was asked for, as plain data (see apps/options.h).
struct EvalTokenizerOptions {
  std::string model;
  std::vector<std::string> data;  // files, folders, tars, lists
  std::string output;             // JSON report; empty: none
  std::string perceptual;         // EfficientNet-Lite0 .pth; empty: no Frechet distance
  std::string centres;            // patch centres of the k-means floor; empty: none
  std::string sheet;              // contact sheet of the first pictures; empty: none
  std::string device = "auto";
  int64_t batch = 32;
  int64_t limit = 0;         // pictures at most; 0: all
  int64_t resamples = 1000;  // of the bootstrap
  int64_t seed = 0;          // of the bootstrap
  bool skip_bad = false;
  bool quiet = false;
};

/// Measures a tokenizer on pictures: PSNR, SSIM, MSE, Frechet distance, codebook usage and perplexity, each
/// with a 95 % bootstrap interval, beside the mosaic and k-means floors; a table on stdout, JSON on request.
///
/// returns  0
/// throws   Error as img2tok; Error(kUsage) with fewer than two pictures
int run_eval_tokenizer(const EvalTokenizerOptions& options);

}  // namespace lexel::cli
