#include "apps/train/generator/text_pretraining.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/philox.h"

namespace lexel::train {
namespace {

constexpr double kHidden = 0.15;  // share of the pieces
constexpr double kSymbol = 0.8, kOther = 0.1;

}  // namespace

MaskedCaptions mask_captions(const ar::Condition& captions, const TextTokenizer& text,
                             uint64_t seed, int64_t number) {
  MaskedCaptions masked{captions, {}, {}};
  masked.condition.text = captions.text.clone();
  const int64_t columns = captions.text.size(1);
  auto* ids = masked.condition.text.mutable_data_ptr<int64_t>();
  const auto* lengths = captions.lengths.const_data_ptr<int64_t>();
  Philox random(seed, "masked pieces", uint64_t(number));
  std::vector<int64_t> places, pieces;
  const auto hide = [&](int64_t place) {
    places.push_back(place);
    pieces.push_back(ids[place]);
    const double draw = random.uniform();
    if (draw < kSymbol) {
      ids[place] = text.symbols().unknown;
    } else if (draw < kSymbol + kOther) {
      ids[place] = int64_t(random.uniform_int(uint64_t(text.vocabulary_size())));
    }
  };
  for (int64_t row = 0; row < captions.text.size(0); ++row) {
    const int64_t real = std::max<int64_t>(lengths[row] - 1, 1);  // without the end symbol
    const auto certain = int64_t(random.uniform_int(uint64_t(real)));
    for (int64_t i = 0; i < real; ++i) {
      if (i == certain || random.uniform() < kHidden - 1.0 / double(real)) hide(row * columns + i);
    }
  }
  masked.places = at::tensor(places, at::kLong);
  masked.pieces = at::tensor(pieces, at::kLong);
  return masked;
}

ParameterList parameters(MaskedHead& head, const ar::Config& config) {
  const double std = 1.0 / std::sqrt(3.0 * double(config.width));
  return {{"pretraining.weight",
           {config.text_vocabulary, config.width},
           Init::normal(std),
           &head.weight,
           "text"},
          {"pretraining.bias",
           {config.text_vocabulary},
           Init::zeros(),
           &head.bias,
           "text",
           /*decay=*/false}};
}

at::Tensor masked_loss(const ar::Model& model, const MaskedHead& head,
                       const MaskedCaptions& captions, const ar::ForwardOptions& options) {
  const at::Tensor encoded = ar::encode_text(model, captions.condition, options);  // (B, M, D)
  const at::Tensor at_places =
      encoded.flatten(0, 1).index_select(0, captions.places).to(at::kFloat);  // (n, D)
  return at::cross_entropy_loss(at::linear(at_places, head.weight, head.bias), captions.pieces);
}

}  // namespace lexel::train
