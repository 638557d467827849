#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What the command lines say, as plain data: the small executables fill these structs without loading
/// LibTorch, and the programs library (apps/programs.h) does the work.

struct Img2TokOptions {
  std::vector<std::string> inputs;  // files, folders, tars, .txt lists, "-"
  std::string output;               // "-" is stdout
  std::string model;                // path of a model file
  std::string device = "auto";
  std::string format;   // "safetensors", "npy", "json", "text"; empty: by the extension of output
  int64_t layers = 0;   // of a pyramid's, from the top; 0: all
  std::string fit;      // "crop", "pad", "stretch", "tiles"; empty: as the model file says
  int64_t batch = 32;   // pictures (tiles) a forward pass
  int64_t threads = 0;  // decode threads; 0: one a core
  bool skip_bad = false;
  bool quiet = false;
};

struct Tok2ImgOptions {
  std::string tokens;  // a token file, or words as text; "-" is stdin
  std::string output;  // a picture, or a folder for many; empty when only a sheet is wanted
  std::string model;
  std::string device = "auto";
  int64_t layers = 0;                  // of a pyramid's, from the top; 0: all that are there
  std::string sheet;                   // contact sheet to write; empty: none
  std::vector<std::string> originals;  // pictures to put beside the reconstructions on the sheet
  std::string extension = "png";       // of the pictures in a folder
  int64_t batch = 32;
  bool quiet = false;
};

struct InfoOptions {
  std::vector<std::string> files;
  bool machine = false;  // this machine in place of files
  bool json = false;
};

struct ExtractTaskOptions {
  std::string model;   // a generator whose experts are routed by task
  std::string output;  // model file to write
  int64_t task = 0;
  std::string weights = "fp32";  // matrices in it: "fp32", "bf16", "int8"
};

struct ImportOptions {
  std::string input;   // a public checkpoint: .safetensors, .pt, .pth, .ckpt
  std::string output;  // a Lexel model file
  int64_t heads = 0;   // attention heads where shapes cannot tell; 0: the family's rule
};

}  // namespace lexel::cli
