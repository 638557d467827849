#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "apps/train/generator/samples.h"
#include "tokenizers/image_tokenizer.h"

namespace lexel::train {

/// The tokens of one source's items once they are known, so that each picture is made and tokenized once. For sources
/// with an end only; thread-safe.
class TokenStore {
 public:
  /// Empty. source and tokenizer outlive the store.
  TokenStore(const SampleSource& source, const TokenizerInfo& tokenizer);

  /// The item with its tokens where they are known, else with its picture.
  Sample item(int64_t k) const;
  /// tokens   (N) int32, in `sample`
  void keep(int64_t k, const Sample& sample);

  /// A token file with captions, whose pictures are called FINGERPRINT/NUMBER.
  /// throws   Error(kIo)
  void write(const std::string& path) const;
  /// What a file has of this source's items. A file that is not there has none.
  /// throws   Error(kBadData) one of another tokenizer or of other items
  void read(const std::string& path);

 private:
  std::string prefix() const;

  const SampleSource& source_;
  const TokenizerInfo& tokenizer_;
  mutable std::mutex mutex_;
  // One block, taken at once: small pieces that stay between the large ones of a step would tear the heap.
  at::Tensor tokens_;           // (items, N) int32; rows that are not known are not touched
  std::vector<Sample> known_;   // without tokens and pictures
  std::vector<bool> is_known_;  // by item
};

}  // namespace lexel::train
