#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

#include "apps/train/batch_queue.h"
#include "apps/train/batch_share.h"
#include "apps/train/tokenizer/crops.h"

namespace lexel::train {

/// Cuts batches of training crops with worker threads and hands them out in order. Batch n holds samples
/// n * batch ... of the sampler, whatever the number of workers.
class Loader {
 public:
  /// first_batch  index of the first batch that next() gives, among those of this rank
  /// workers      threads, at least 1
  /// ahead        finished batches that may wait, at least 1
  /// share        which numbers the batches have
  Loader(const CropSampler& sampler, int64_t batch, int64_t image_size, int64_t first_batch,
         int64_t workers, int64_t ahead, const BatchShare& share = {});

  /// (batch, 3, S, S) float32 in [0, 1].
  /// throws   what a worker met
  at::Tensor next() { return queue_.next(); }

  /// Time that next() has waited for a worker, seconds in all.
  double waited_s() const { return queue_.waited_s(); }

 private:
  BatchQueue<at::Tensor> queue_;
};

}  // namespace lexel::train
