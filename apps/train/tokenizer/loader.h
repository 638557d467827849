#pragma once

#include <ATen/core/Tensor.h>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "apps/train/tokenizer/crops.h"

namespace lexel::train {

/// Cuts batches of training crops with worker threads and hands them out in order. Batch n holds samples
/// n * batch ... of the sampler, whatever the number of workers.
class Loader {
 public:
  /// first_batch  number of the first batch that next() gives
  /// workers      threads, at least 1
  /// ahead        finished batches that may wait, at least 1
  Loader(const CropSampler& sampler, int64_t batch, int64_t image_size, int64_t first_batch,
         int64_t workers, int64_t ahead);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// (batch, 3, S, S) float32 in [0, 1].
  /// throws   what a worker met
  at::Tensor next();

  /// Time that next() has waited for a worker, seconds in all.
  double waited_s() const { return waited_s_; }

 private:
  void work();

  const CropSampler& sampler_;
  const int64_t batch_, image_size_, ahead_;
  std::mutex mutex_;
  std::condition_variable filled_, wanted_;
  std::map<int64_t, at::Tensor> finished_;  // by batch number
  int64_t next_to_cut_, next_to_give_;
  bool stop_ = false;
  std::exception_ptr failure_;
  double waited_s_ = 0.0;
  std::vector<std::thread> threads_;
};

}  // namespace lexel::train
