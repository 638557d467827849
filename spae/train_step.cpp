#include "spae/train_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

#include "kernels/check.h"
#include "vqgan/losses.h"

namespace lexel::spae {
namespace {

std::vector<double> pools_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<double> pools;
  for (std::string part; stream >> part;) {
    size_t read = 0;
    double value = -1.0;
    try {
      value = std::stod(part, &read);
    } catch (const std::exception&) {  // std::stod's way to say no
      read = 0;
    }
    check(read == part.size() && value >= 0.0 && value <= 1.0, ErrorKind::kUsage,
          "loss weights: pools: expected numbers of 0 to 1, got ", text);
    pools.push_back(value);
  }
  return pools;
}

/// A weighted sum that remembers its terms.
struct Sum {
  at::Tensor total;
  LossTerms terms;

  void add(const std::string& name, const at::Tensor& term, const at::Tensor& weighted) {
    terms.emplace_back(name, term.detach());
    total = total.defined() ? total + weighted : weighted;
  }
  void add(const std::string& name, const at::Tensor& term, double weight) {
    add(name, term, term * weight);
  }
};

/// (M, D): so many of a layer's queries, drawn without replacement.
at::Tensor sample_rows(const at::Tensor& queries, int64_t rows, Philox& random) {
  const at::Tensor flat = queries.reshape({-1, queries.size(2)});
  if (flat.size(0) <= rows) return flat;
  std::vector<int64_t> places(static_cast<size_t>(flat.size(0)));
  std::iota(places.begin(), places.end(), int64_t{0});
  for (size_t i = 0; i < static_cast<size_t>(rows); ++i)
    std::swap(places[i], places[i + random.uniform_int(places.size() - i)]);
  places.resize(static_cast<size_t>(rows));
  return flat.index_select(0, at::tensor(places, at::kLong).to(flat.device()));
}

/// Mean over layers.
at::Tensor entropy_of(const Model& model, const LossWeights& weights, const Forward& pass,
                      const TrainBatch& batch) {
  Philox random(batch.seed, "entropy rows", static_cast<uint64_t>(batch.number));
  at::Tensor sum;
  for (const LayerChoice& choice : pass.choices) {
    // The queries of repeated layers are longer than one; their direction is what chooses a word.
    const at::Tensor rows = unit_rows(sample_rows(choice.queries, weights.entropy_rows, random));
    const at::Tensor term = entropy_term(rows, model.codebook.codes, weights.word_scale);
    sum = sum.defined() ? sum + term : term;
  }
  return sum / static_cast<double>(pass.choices.size());
}

/// Mean over the semantic layers.
at::Tensor semantic_of(const Model& model, const LossWeights& weights, const Forward& pass,
                       const TrainBatch& batch) {
  Philox random(batch.seed, "word targets", static_cast<uint64_t>(batch.number));
  const std::vector<double> pools = pools_of(weights.pools);
  const int64_t layers = std::min(weights.semantic_layers, model.pyramid.layers());
  at::Tensor sum;
  for (int64_t l = 0; l < layers; ++l) {
    const at::Tensor wanted = draw_targets(batch.targets, model.pyramid, l, weights.ranked_layers,
                                           pools[static_cast<size_t>(l)], random);
    const at::Tensor term = word_cross_entropy(pass.choices[static_cast<size_t>(l)].queries,
                                               model.codebook.codes, wanted, weights.word_scale);
    sum = sum.defined() ? sum + term : term;
  }
  return sum / static_cast<double>(layers);
}

}  // namespace

void validate(const LossWeights& weights) {
  visit_fields(weights, [](const std::string& name, const auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, double>) {
      check(std::isfinite(value) && value >= 0.0, ErrorKind::kUsage, "loss weights: ", name,
            ": expected at least 0, got ", value);
    }
  });
  const auto pools = static_cast<int64_t>(pools_of(weights.pools).size());
  const auto range = [](const char* field, int64_t value, int64_t low, int64_t high) {
    check(value >= low && value <= high, ErrorKind::kUsage, "loss weights: ", field, ": expected ",
          low, " to ", high, ", got ", value);
  };
  range("semantic_layers", weights.semantic_layers, 0, pools);
  range("ranked_layers", weights.ranked_layers, 0, 16);
  range("entropy_rows", weights.entropy_rows, 1, 1 << 20);
  check(weights.word_scale > 0.0, ErrorKind::kUsage,
        "loss weights: word_scale: expected above 0, got ", weights.word_scale);
}

GeneratorStep generator_step(const Model& model, const TrainSetup& setup, const TrainBatch& batch) {
  const LossWeights& weights = setup.weights;
  validate(weights);
  const Forward pass = forward(model, batch.images,
                               {.compute = setup.compute,
                                .features = batch.features,
                                .layers = batch.layers,
                                .quantization = batch.quantization});
  Sum sum;  // L_app first: the semantic weight is measured against it
  if (weights.l2 > 0.0) sum.add("l2", vqgan::l2_loss(pass.pictures, batch.images), weights.l2);
  if (weights.l1 > 0.0) sum.add("l1", vqgan::l1_loss(pass.pictures, batch.images), weights.l1);
  if (weights.perceptual > 0.0 && setup.perceptual) {
    sum.add("perceptual", vqgan::perceptual_loss(*setup.perceptual, pass.pictures, batch.images),
            weights.perceptual);
  }
  check_arg(sum.total.defined(), "spae::generator_step",
            "expected a reconstruction loss with a weight, got none");
  if (weights.adversarial > 0.0 && setup.discriminator) {
    sum.add("adversarial",
            vqgan::generator_loss(
                vqgan::scores(vqgan::frozen(*setup.discriminator), pass.pictures, setup.compute)),
            weights.adversarial);
  }
  if (weights.commitment > 0.0) {
    sum.add("commitment", layer_commitment(model.pyramid, pass.latents, pass.choices),
            weights.commitment);
  }
  const at::Tensor appearance = sum.total.detach();
  if (weights.semantic > 0.0 && weights.semantic_layers > 0 && batch.targets.ids.defined()) {
    const at::Tensor semantic = semantic_of(model, weights, pass, batch);
    const at::Tensor factor = appearance / semantic.detach().clamp_min(1e-6) * weights.semantic;
    sum.add("semantic", semantic, semantic * factor);
    sum.terms.emplace_back("semantic_weight", factor);
  }
  if (weights.entropy > 0.0)
    sum.add("entropy", entropy_of(model, weights, pass, batch), weights.entropy);
  return {sum.total, std::move(sum.terms), pass};
}

DiscriminatorStep discriminator_step(const TrainSetup& setup, const at::Tensor& images,
                                     const at::Tensor& reconstructions, const at::Tensor& mean_real,
                                     const at::Tensor& mean_fake) {
  check_arg(setup.discriminator != nullptr, "spae::discriminator_step",
            "expected a discriminator, got none");
  const at::Tensor real = vqgan::scores(*setup.discriminator, images.detach(), setup.compute);
  const at::Tensor fake =
      vqgan::scores(*setup.discriminator, reconstructions.detach(), setup.compute);
  Sum sum;
  sum.add("discriminator", vqgan::discriminator_loss(real, fake), 1.0);
  if (setup.weights.lecam > 0.0)
    sum.add("lecam", lecam_loss(real, fake, mean_real, mean_fake), setup.weights.lecam);
  return {sum.total, std::move(sum.terms), real.detach().mean(), fake.detach().mean()};
}

}  // namespace lexel::spae
