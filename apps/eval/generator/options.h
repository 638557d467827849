#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What `lexel eval generator` was asked for, as plain data (see apps/options.h).
struct EvalGeneratorOptions {
  std::string model;      // generator
  std::string tokenizer;  // of pictures
  std::string detector;   // judge of the captions
  std::string device = "auto";

  std::string sprites = "data/sprites.tar";  // things of the scenes
  std::vector<std::string> backgrounds;      // photos of the scenes: files, folders, tars
  std::string split = "heldout";             // or "train": to choose options on
  int64_t scenes = 200;                      // of the reference set
  int64_t first = 0;                         // number of the first scene
  // Of the composer. Not 1: recipes train on scenes of seed 1 and keep the weights that do best on held-out ones of it.
  uint64_t scene_seed = 2;

  double guidance = 1.5;
  std::string schedule = "constant";  // or "cosine"
  double temperature = 1.0;
  int64_t top_k = 0;
  double top_p = 0.95;
  uint64_t seed = 0;
  int64_t rerank = 1;  // candidates a picture
  std::string scorer;  // that ranks them
  int64_t batch = 8;   // pictures drawn together

  std::string perceptual;    // EfficientNet-Lite0 .pth; empty: no Frechet distance
  std::string prompts;       // table of prompts; empty: no gallery
  std::string gallery;       // folder of the gallery
  int64_t per_category = 0;  // prompts of each category, 0: all
  std::string json;          // report; empty: none
  std::string sheet;         // contact sheet; empty: none
  int64_t sheet_captions = 8;
  int64_t resamples = 1000;  // of the bootstrap
  bool quiet = false;
};

/// Measures a generator on composed scenes whose captions it was not trained on: what the captions claim, judged by
/// a detector; the Frechet distance; the likelihood of true pictures. A table on stdout, JSON on request.
///
/// returns  0
/// throws   Error(kUsage) on options that cannot be, Error(kBadData), Error(kIo) of what is read and written
int run_eval_generator(const EvalGeneratorOptions& options);

}  // namespace lexel::cli
