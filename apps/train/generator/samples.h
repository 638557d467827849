#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/data/compose/composer_config.h"
#include "tokenizers/image_tokenizer.h"

namespace lexel::train {

/// One thing to learn: a picture, as tokens or still to be tokenized, with what it shows.
struct Sample {
  std::string caption;  // empty: none
  int64_t label = -1;   // class; -1: none
  int64_t task = 0;     // number of its source: what experts are routed by, where they are by task
  std::string kind;     // "single", "relation": evaluations tell them apart; empty: one kind
  at::Tensor tokens;    // (N) int32, or undefined and then
  at::Tensor picture;   // (3, S, S) float32 in [0, 1]
};

/// Where samples come from.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual const std::string& name() const = 0;
  virtual int64_t items() const = 0;     // to learn; 0: endless
  virtual int64_t held_out() const = 0;  // never learnt

  /// From any thread; the same for the same k.
  /// throws   Error(kBadData) a picture that cannot be read
  virtual Sample item(int64_t k) const = 0;
  virtual Sample held_out_item(int64_t k) const = 0;

  /// Hash over all items, hex.
  virtual const std::string& fingerprint() const = 0;
};

/// Composed scenes, see data::Composer; called "scenes".
///
/// items      0: endless
/// throws     what Composer throws
std::unique_ptr<SampleSource> scene_source(const std::string& sprites,
                                           const std::vector<std::string>& backgrounds,
                                           uint64_t seed, const data::ComposeConfig& config,
                                           int64_t items, int64_t held_out);

/// One source for each set of the pictures of tars, folders and lists, and one for each token file, which must be of this
/// tokenizer. What is held out is said by a picture's JSON; without any, and in token files, it is 5 % by a hash of the name.
///
/// captioned  pictures without a caption are left out; else those without a class, which is the "class" of the JSON or,
///            where no picture has one, the place of its caption among all captions in order
/// fit        how pictures become squares, see Preprocess
/// held_out   most of each source
/// throws     Error(kIo), Error(kBadData) inputs that cannot be read, or tokens of another tokenizer; Error(kUsage) no
///            picture with a caption (or class)
std::vector<std::unique_ptr<SampleSource>> picture_sources(const std::vector<std::string>& inputs,
                                                           const TokenizerInfo& tokenizer,
                                                           bool captioned, const std::string& fit,
                                                           int64_t held_out);

}  // namespace lexel::train
