#include "apps/train/tokenizer/loader.h"

#include <ATen/ops/empty.h>

namespace lexel::train {

Loader::Loader(const CropSampler& sampler, int64_t batch, int64_t image_size, int64_t first_batch,
               int64_t workers, int64_t ahead, const BatchShare& share)
    : queue_(
          [&sampler, batch, image_size, share](int64_t index) {
            const int64_t number = share.number(index);
            const at::Tensor images = at::empty({batch, 3, image_size, image_size}, at::kFloat);
            float* out = images.mutable_data_ptr<float>();
            for (int64_t i = 0; i < batch; ++i) {
              sampler.cut(sampler.sample(number * batch + i),
                          out + i * 3 * image_size * image_size);
            }
            return images;
          },
          first_batch, workers, ahead) {}

}  // namespace lexel::train
