#pragma once

#include <ATen/core/Tensor.h>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/train/batch_queue.h"
#include "apps/train/batch_share.h"
#include "apps/train/generator/order.h"
#include "apps/train/generator/samples.h"
#include "apps/train/generator/token_store.h"
#include "autoregressive/model.h"
#include "tokenizers/image_tokenizer.h"
#include "tokenizers/text_tokenizer.h"

namespace lexel::train {

/// Pictures as a generator learns them.
struct TokenBatch {
  ar::Condition condition;  // CPU
  at::Tensor tokens;        // (B, N) int64, CPU; undefined: captions alone
};

/// Everything that samples come from.
struct GeneratorData {
  std::vector<std::unique_ptr<SampleSource>> sources;
  std::shared_ptr<const ImageTokenizer> tokenizer;
  std::shared_ptr<const TextTokenizer> text;  // null: a model without text
  ar::Config config;
};

/// Captions or classes of samples as a condition; `dropped` samples (all, or one flag each) are unconditional.
ar::Condition condition_of(const GeneratorData& data, const std::vector<Sample>& samples,
                           const std::vector<bool>& dropped = {});

/// Tokens of samples, (B, N) int64; pictures among them are tokenized in one batch, and given their tokens.
at::Tensor tokens_of(const GeneratorData& data, std::vector<Sample>& samples);

/// Batches of a run, in order. Workers compose and decode the pictures, and tokenize them where work with tensors has one thread;
/// where it has several or a GPU, the tokenizer runs in the thread that asks, since it wants all of them as training does.
class TokenBatches {
 public:
  struct Options {
    std::string mixture;  // shares by source; empty: by size
    int64_t batch = 16;
    double caption_drop = 0.1;
    uint64_t seed = 1;
    int64_t first = 0;         // index of the first batch among those of this rank
    BatchShare share;          // which numbers they have
    int64_t text_batches = 0;  // so many first ones are captions alone, none dropped
    int64_t workers = 1;
    bool workers_tokenize = false;
    std::string cache;  // file for the tokens of composed scenes; empty: none
  };

  /// throws   Error(kUsage) a mixture that names a source that is not there
  TokenBatches(const GeneratorData& data, const Options& options);
  ~TokenBatches();

  /// throws   what the sources throw
  TokenBatch next();

  /// Seconds that next() has waited for workers and tokenized, in all.
  double waited_s() const { return queue_->waited_s() + tokenized_s_; }

  /// Writes the cache, where it has grown.
  /// throws   Error(kIo)
  void write_cache();

 private:
  /// Samples of one batch with what workers do.
  struct Prepared {
    std::vector<SampleOrder::Place> places;
    std::vector<Sample> samples;
    ar::Condition condition;
    at::Tensor tokens;  // undefined: still to be made
    bool text_only = false;
  };
  Prepared prepare(int64_t number);
  /// Makes the tokens of a batch, and keeps those that were not known.
  void tokenize(Prepared& batch);

  const GeneratorData& data_;
  Options options_;
  std::unique_ptr<SampleOrder> order_;
  std::vector<std::unique_ptr<TokenStore>> stores_;  // by source; null: endless
  double tokenized_s_ = 0.0;                         // in next()
  std::atomic<bool> cache_grown_ = false;
  std::unique_ptr<BatchQueue<Prepared>> queue_;  // last: its threads use the others
};

}  // namespace lexel::train
