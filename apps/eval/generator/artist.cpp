#include "apps/eval/generator/artist.h"

#include <ATen/ops/cat.h>
#include <algorithm>

#include "kernels/check.h"
#include "kernels/device.h"

namespace lexel::eval {

Artist::Artist(const std::string& generator, const std::string& tokenizer,
               const std::string& scorer, const std::string& device, const Options& options)
    : model_(generator, tokenizer, {.device = device}), options_(options) {
  ar::validate(options.sampling, model_.config().codebook_size);
  check_arg(options.batch >= 1, "Artist", "expected a batch of 1 at least, got ", options.batch);
  check_arg(options.rerank >= 1 && options.rerank <= 1024, "Artist",
            "expected 1 to 1024 candidates, got ", options.rerank);
  check_arg(options.rerank == 1 || !scorer.empty(), "Artist", "expected a scorer to choose among ",
            options.rerank, " candidates");
  if (options.rerank > 1) scorer_ = load_scorer(scorer, resolve_device(device));
}

at::Tensor Artist::draw(const std::vector<std::string>& captions, uint64_t seed,
                        const std::function<void(int64_t)>& drawn) {
  check_arg(!captions.empty(), "Artist::draw", "expected a caption at least");
  TextToImage::Options options;
  options.sampling = options_.sampling;
  options.sampling.seed = seed;
  const int64_t each = options_.rerank;
  const auto count = static_cast<int64_t>(captions.size());
  std::vector<at::Tensor> pictures;
  for (int64_t first = 0, last = 0; first < count; first = last) {
    last = std::min(count, first + std::max<int64_t>(1, options_.batch / each));
    std::vector<std::string> candidates;
    options.pictures.clear();
    for (int64_t number = first * each; number < last * each; ++number) {
      candidates.push_back(captions[static_cast<size_t>(number / each)]);
      options.pictures.push_back(number);
    }
    const TextToImage::Result result = model_.draw(candidates, options);
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (!result.warnings[i].empty())
        warnings_.insert("\"" + candidates[i] + "\" " + result.warnings[i]);
    }
    if (each == 1) {
      pictures.push_back(result.images);
    } else {
      const at::Tensor scores = scorer_->score(result.images, candidates).view({-1, each});
      const at::Tensor best = scores.argmax(1);  // (last - first)
      for (int64_t i = 0; i < last - first; ++i)
        pictures.push_back(result.images.narrow(0, i * each + best[i].item<int64_t>(), 1));
    }
    drawn(last * each);
  }
  return at::cat(pictures);
}

}  // namespace lexel::eval
