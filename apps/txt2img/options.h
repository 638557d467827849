#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What `txt2img` was asked for, as plain data (see apps/options.h).
struct Txt2ImgOptions {
  std::vector<std::string> captions;  // one picture (or `count`) each; "-" alone: stdin, one a line
  std::string prompts;                // file of captions, one a line; "-" is stdin; empty: none
  std::string like;                   // a picture of txt2img to draw again; empty: none

  std::string model;      // generator
  std::string tokenizer;  // of pictures
  std::string device = "auto";
  std::string precision = "int8";  // of the generator's matrices: "int8", "bf16", "fp32"
  std::string cache = "bf16";      // keys and values: the same names

  std::string
      output;        // a picture, a folder for many, "-" is stdout; empty: named after the caption
  std::string grid;  // contact sheet; empty: none
  std::string tokens;          // token file; empty: none
  std::string preview;         // folder for the pictures so far; empty: none
  int64_t preview_every = 32;  // tokens
  bool quiet = false;

  std::string mesh;      // "tensor=2": ranks that share the generator; empty: all that run
  double timeout = 600;  // seconds that a rank waits for another in a collective

  int64_t count = 1;  // pictures a caption
  uint64_t seed = 0;
  double guidance = 1.5;
  std::string schedule = "constant";  // "constant" or "cosine"
  double temperature = 1.0;
  int64_t top_k = 0;
  double top_p = 0.95;

  int64_t rerank = 1;   // candidates a picture
  std::string scorer;   // model that ranks them
  std::string upscale;  // upsampler's model file; empty: none

  std::string edit;      // photo to redraw in part; empty: none
  std::string mask;      // what of it
  int64_t keep_top = 0;  // rows of the photo's tokens to keep; 0: by the mask
};

/// Captions to pictures: the work of the program txt2img.
///
/// returns  0, or the code of the first caption that could not be drawn (the others are)
/// throws   Error: what loading, drawing and writing throw
int run_txt2img(const Txt2ImgOptions& options);

/// What `lexel heatmap` was asked for.
struct HeatmapOptions {
  std::string picture;
  std::string caption;
  std::string output;  // picture to write; empty: numbers only
  std::string model, tokenizer;
  std::string device = "auto";
  bool json = false;  // the numbers, on stdout
};

/// How likely each token of a picture is under a caption, painted over the picture: the work of `lexel heatmap`.
int run_heatmap(const HeatmapOptions& options);

}  // namespace lexel::cli
