#include "autoregressive/text_to_image.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/where.h>
#include <algorithm>
#include <utility>

#include "autoregressive/prompts.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/load.h"
#include "tokenizers/text_tokenizer.h"

namespace lexel {
namespace {

at::Tensor numbers(const std::vector<int64_t>& given, int64_t batch) {
  const at::Tensor numbers = at::arange(batch, at::kLong);  // (B)
  if (given.empty()) return numbers;
  check_arg(static_cast<int64_t>(given.size()) == batch, "draw", "expected ", batch,
            " picture numbers, got ", given.size());
  std::copy(given.begin(), given.end(), numbers.data_ptr<int64_t>());
  return numbers;
}

}  // namespace

void check_same_tokenizer(const ar::Generator& generator, const std::string& name,
                          const TokenizerInfo& tokenizer) {
  check(generator.codebook_fingerprint == tokenizer.codebook_fingerprint, ErrorKind::kBadData, name,
        ": was trained with the tokenizer ", generator.tokenizer_name, " (codebook ",
        generator.codebook_fingerprint.substr(0, 12), "), not with ", tokenizer.name, " (codebook ",
        tokenizer.codebook_fingerprint.substr(0, 12), ")");
  const ar::Config& config = generator.model.config;
  check(config.grid_height == tokenizer.grid_height && config.grid_width == tokenizer.grid_width &&
            config.codebook_size == tokenizer.codebook_size,
        ErrorKind::kBadData, name, ": draws ", config.grid_height, " x ", config.grid_width,
        " tokens of ", config.codebook_size, " codes, ", tokenizer.name, " has ",
        tokenizer.grid_height, " x ", tokenizer.grid_width, " of ", tokenizer.codebook_size);
}

TextToImage::TextToImage(const std::string& generator_path, const std::string& tokenizer_path)
    : TextToImage(generator_path, tokenizer_path, Setup{}) {}

TextToImage::TextToImage(const std::string& generator_path, const std::string& tokenizer_path,
                         const Setup& setup)
    : device_(resolve_device(setup.device)) {
  {
    const ModelFile file = read_model_file(tokenizer_path);
    tokenizer_ = make_image_tokenizer(file, tokenizer_path, device_);
    tokenizer_fingerprint_ = model_fingerprint(file);
  }
  ar::Generator generator;
  {
    const ModelFile file = read_model_file(generator_path);
    generator = ar::read_generator(file, generator_path, device_);
    generator_fingerprint_ = model_fingerprint(file);
  }
  check_same_tokenizer(generator, generator_path, tokenizer_->info());
  text_ = std::move(generator.text);
  model_ = setup.pack ? setup.pack(std::move(generator.model), setup.weights)
                      : ar::pack(std::move(generator.model), setup.weights);
}

TextToImage::Result TextToImage::draw(const std::vector<std::string>& captions,
                                      const Options& options) const {
  check_arg(!captions.empty(), "draw", "expected at least one caption, got none");
  const at::NoGradGuard no_grad;
  const auto batch = static_cast<int64_t>(captions.size());
  ar::Prompts prompts = ar::read_prompts(config(), text_.get(), captions, device_);
  const at::Tensor pictures = numbers(options.pictures, batch).to(device_);  // (B)
  const at::Tensor given = options.given.defined() ? options.given.to(device_) : at::Tensor();

  const auto each_token = [&](int64_t done, const at::Tensor& tokens) {
    if (options.on_token && !options.on_token(done, tokens)) return false;
    if (!options.on_row) return true;
    const int64_t drawn = tokens_so_far(tokens);
    return drawn % config().grid_width != 0 || options.on_row(drawn / config().grid_width, tokens);
  };
  const bool watched = options.on_token || options.on_row;
  const ar::Generated generated =
      ar::generate(model_, prompts.given, prompts.none, pictures, options.sampling, given,
                   watched ? each_token : ar::TokenCallback());

  Result result;
  result.tokens = generated.tokens.cpu();
  result.log_probabilities = generated.log_probabilities.cpu();
  result.images = picture_so_far(result.tokens);
  result.warnings = std::move(prompts.warnings);
  return result;
}

int64_t tokens_so_far(const at::Tensor& tokens) {
  const at::Tensor standing =
      tokens.ge(0).sum(1);  // (B): N, ..., N, the same number for a group, 0, ...
  return standing.masked_fill(standing.eq(0), tokens.size(1)).min().item<int64_t>();
}

at::Tensor TextToImage::picture_so_far(const at::Tensor& tokens) const {
  const TokenizerInfo& info = tokenizer_->info();
  at::Tensor complete = tokens.cpu();
  if (complete.lt(0).any().item<bool>()) {
    const at::Tensor gray = at::full({1, 3, info.image_size, info.image_size}, 0.5);
    complete = at::where(complete.lt(0), tokenizer_->encode(gray), complete);
  }
  // One at a time: matrix products of other sizes sum in another order.
  std::vector<at::Tensor> images;
  for (const at::Tensor& row : complete.split(1)) images.push_back(tokenizer_->decode(row));
  return at::cat(images);  // (B, 3, S, S)
}

}  // namespace lexel
