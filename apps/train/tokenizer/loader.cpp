#include "apps/train/tokenizer/loader.h"

#include <ATen/ops/empty.h>
#include <chrono>

namespace lexel::train {

Loader::Loader(const CropSampler& sampler, int64_t batch, int64_t image_size, int64_t first_batch,
               int64_t workers, int64_t ahead)
    : sampler_(sampler),
      batch_(batch),
      image_size_(image_size),
      ahead_(ahead),
      next_to_cut_(first_batch),
      next_to_give_(first_batch) {
  for (int64_t i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wanted_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Loader::work() {
  while (true) {
    int64_t number = 0;
    {
      std::unique_lock lock(mutex_);
      wanted_.wait(lock, [this] { return stop_ || next_to_cut_ < next_to_give_ + ahead_; });
      if (stop_) return;
      number = next_to_cut_++;
    }
    at::Tensor images;
    std::exception_ptr failure;
    try {
      images = at::empty({batch_, 3, image_size_, image_size_}, at::kFloat);
      float* out = images.mutable_data_ptr<float>();
      for (int64_t i = 0; i < batch_; ++i) {
        sampler_.cut(sampler_.sample(number * batch_ + i), out + i * 3 * image_size_ * image_size_);
      }
    } catch (...) {
      failure = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      finished_.emplace(number, images);
      if (failure) failure_ = failure;
    }
    filled_.notify_all();
  }
}

at::Tensor Loader::next() {
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  filled_.wait(lock, [this] { return failure_ || finished_.count(next_to_give_) > 0; });
  if (failure_) std::rethrow_exception(failure_);
  const at::Tensor images = finished_.extract(next_to_give_).mapped();
  ++next_to_give_;
  lock.unlock();
  wanted_.notify_all();
  waited_s_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return images;
}

}  // namespace lexel::train
