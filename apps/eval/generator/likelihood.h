#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "autoregressive/generator_file.h"
#include "tokenizers/image_tokenizer.h"

namespace lexel::eval {

/// How surprising the tokens of captioned pictures are to a generator: -ln p(token), mean over a picture's
/// tokens, in nats. ln K is what a generator gives that knows nothing.
///
/// pictures   (N, 3, S, S) float32 in [0, 1]
/// captions   N, cut as in training where they are too long
/// batch      pictures of a forward pass
/// returns    one number a picture
/// throws     Error(kUsage) a generator without text
std::vector<double> negative_log_likelihoods(const ar::Generator& generator,
                                             const ImageTokenizer& tokenizer,
                                             const at::Tensor& pictures,
                                             const std::vector<std::string>& captions,
                                             int64_t batch);

}  // namespace lexel::eval
