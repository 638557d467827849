#include "vqgan/quantizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/where.h>

#include "kernels/check.h"
#include "kernels/codebook_lookup.h"

namespace lexel::vqgan {

void list_quantizer(Quantizer& quantizer, const Config& config, ParameterList& list) {
  list.push_back({"quantizer.codebook",
                  {config.codebook_size, config.code_width},
                  Init::normal(1.0),
                  &quantizer.codebook,
                  "quantizer",
                  /*decay=*/false});
}

at::Tensor normalized(const Config& config, const at::Tensor& x) {
  if (!config.normalize_codes) return x;
  return x / at::linalg_vector_norm(x, 2, at::IntArrayRef{-1}, /*keepdim=*/true).clamp_min(1e-12);
}

at::Tensor nearest_ids(const Config& config, const at::Tensor& latents, const at::Tensor& codes) {
  const at::NoGradGuard no_grad;
  const auto metric =
      config.normalize_codes ? kernels::CodeMetric::kCosine : kernels::CodeMetric::kL2;
  const auto rows = latents.detach().reshape({-1, config.code_width}).to(at::kFloat).contiguous();
  const auto match =
      kernels::codebook_lookup(rows, codes.detach().to(at::kFloat).contiguous(), metric);
  return match.ids.reshape({latents.size(0), latents.size(1)});
}

Quantized quantize(const Quantizer& quantizer, const Config& config, const at::Tensor& latents,
                   const at::Tensor& quantized) {
  Quantized result;
  result.latents = normalized(config, latents);
  const auto codebook = normalized(config, quantizer.codebook);
  result.ids = nearest_ids(config, result.latents, codebook);
  result.codes = at::embedding(codebook, result.ids);
  result.straight_through = result.latents + (result.codes - result.latents).detach();
  if (quantized.defined()) {
    check_arg(quantized.scalar_type() == at::kBool && quantized.sizes() == result.ids.sizes(),
              "quantize", "expected a bool mask of shape ", result.ids.sizes(), ", got ",
              quantized.scalar_type(), " of shape ", quantized.sizes());
    result.straight_through =
        at::where(quantized.unsqueeze(-1), result.straight_through, result.latents);
  }
  return result;
}

at::Tensor codes_of(const Quantizer& quantizer, const Config& config, const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  return normalized(config, at::embedding(quantizer.codebook, ids));
}

}  // namespace lexel::vqgan
