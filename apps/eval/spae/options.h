#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What `lexel eval spae` was asked for, as plain data (see apps/options.h).
struct EvalSpaeOptions {
  std::string model;              // model file of `lexel train spae`
  std::vector<std::string> data;  // captioned drawings and photos: tars, folders
  std::string words;              // word table that captions are read with; empty: the shipped one
  std::string guide;              // guide for the score of each layer's words; empty: none
  std::string output;             // JSON report; empty: none
  std::string sheet;  // contact sheet: a row a picture, a column a number of layers; empty: none
  std::string words_output;  // JSON lines of held-out pictures' words; empty: none
  std::string device = "auto";
  int64_t limit = 256;  // held-out drawings, and photos, at most
  bool quiet = false;
};

/// Measures a SPAE layer by layer on subjects that no training drawing has, and on held-out photos: PSNR, SSIM and Frechet distance of each prefix of
/// layers beside the mosaic's, which words each layer says, how many it uses and their perplexity; how often the upper words
/// are those of the caption, with 95 % intervals, beside the most frequent words. A table on stdout, JSON on request.
///
/// returns  0
/// throws   what reading model, words and data throws; Error(kUsage) a word table of other words than the model's
int run_eval_spae(const EvalSpaeOptions& options);

}  // namespace lexel::cli
