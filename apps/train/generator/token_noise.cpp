#include "apps/train/generator/token_noise.h"

#include "kernels/philox.h"

namespace lexel::train {

at::Tensor noisy_tokens(const at::Tensor& tokens, int64_t codebook_size, const TokenNoise& noise,
                        uint64_t seed, int64_t first) {
  if (noise.most <= 0 && noise.blind <= 0) return tokens;
  const at::Tensor result = tokens.clone();
  auto* const ids = result.mutable_data_ptr<int64_t>();
  for (int64_t row = 0; row < tokens.size(0); ++row) {
    Philox random(seed, "token noise", uint64_t(first + row));
    const bool blind = random.uniform() < noise.blind;
    const double share = blind ? 1.0 : noise.most * random.uniform();
    for (int64_t i = 0; i < tokens.size(1); ++i) {
      if (random.uniform() >= share) continue;
      ids[row * tokens.size(1) + i] = int64_t(random.uniform_int(uint64_t(codebook_size)));
    }
  }
  return result;
}

}  // namespace lexel::train
