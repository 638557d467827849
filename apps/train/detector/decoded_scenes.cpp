#include "apps/train/detector/decoded_scenes.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <algorithm>
#include <vector>

namespace lexel::train {
namespace {

constexpr int64_t kAtOnce = 32;

}  // namespace

at::Tensor decoded(const ImageTokenizer& tokenizer, const at::Tensor& images) {
  const at::NoGradGuard no_gradient;
  std::vector<at::Tensor> drawn;
  for (int64_t first = 0; first < images.size(0); first += kAtOnce) {
    const int64_t count = std::min(kAtOnce, images.size(0) - first);
    drawn.push_back(tokenizer.decode(tokenizer.encode(images.narrow(0, first, count))));
  }
  return at::cat(drawn);
}

DecodedScenes::DecodedScenes(PastedScenes& pasted, const ImageTokenizer& tokenizer,
                             int64_t first_number)
    : pasted_(pasted), tokenizer_(tokenizer), first_number_(first_number) {}

void DecodedScenes::hold(int64_t begin, int64_t end) {
  std::erase_if(held_,
                [&](const auto& entry) { return entry.first < begin || entry.first >= end; });
  std::vector<int64_t> missing;
  for (int64_t number = begin; number < end; ++number) {
    if (held_.count(number) == 0) missing.push_back(number);
  }
  for (size_t first = 0; first < missing.size(); first += kAtOnce) {
    const size_t last = std::min(missing.size(), first + kAtOnce);
    std::vector<at::Tensor> images;
    for (size_t i = first; i < last; ++i) {
      data::Scene scene = pasted_.scene(first_number_ + missing[i]);
      images.push_back(to_tensor(scene.picture));
      held_[missing[i]].truth = std::move(scene.truth);
    }
    const at::Tensor drawn = decoded(tokenizer_, at::stack(images)).mul(255).round().to(at::kByte);
    for (size_t i = first; i < last; ++i)
      held_[missing[i]].pixels = drawn[static_cast<int64_t>(i - first)].clone();
  }
}

const DecodedScenes::Picture& DecodedScenes::at(int64_t number) const { return held_.at(number); }

}  // namespace lexel::train
