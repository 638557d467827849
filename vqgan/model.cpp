#include "vqgan/model.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <algorithm>

#include "kernels/check.h"

namespace lexel::vqgan {
namespace {

void check_images(const Config& config, const at::Tensor& images, const char* function,
                  at::ScalarType compute = at::kFloat) {
  check_arg(
      images.dim() == 4 && images.size(1) == 3 && images.scalar_type() == residual_type(compute),
      function, "expected (B, 3, H, W) ", compute == at::kDouble ? "float64" : "float32",
      " images, got ", images.scalar_type(), " of shape ", images.sizes());
  check_arg(images.size(2) > 0 && images.size(3) > 0 && images.size(2) % config.patch_size == 0 &&
                images.size(3) % config.patch_size == 0,
            function, "expected sides that are multiples of ", config.patch_size, ", got ",
            images.size(2), " x ", images.size(3));
}

/// Calls run(k) for each picture. On the CPU each runs on one thread, whatever the batch or the number of
/// threads, because LibTorch's products change their order of summation with both.
template <class Run>
void for_each_picture(int64_t batch, Run&& run) {
  // A range of two at least: LibTorch opens no parallel region, which binds products to a thread, for one.
  at::parallel_for(0, std::max<int64_t>(batch, 2), 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;  // of this thread
    for (int64_t k = begin; k < std::min(end, batch); ++k) run(k);
  });
}

}  // namespace

Model model_layout(const Config& config) {
  validate(config);
  Model model;
  model.config = config;
  return model;
}

ParameterList parameters(Model& model) {
  ParameterList list;
  list_encoder(model.encoder, model.config, list);
  list_quantizer(model.quantizer, model.config, list);
  list_decoder(model.decoder, model.config, list);
  return list;
}

ParameterList parameters_for_decoder_finetuning(Model& model) {
  ParameterList list = parameters(model);
  for (Parameter& parameter : list) {
    if (!parameter.name.starts_with("decoder.")) parameter.trained = false;
  }
  return list;
}

Model make_model(const Config& config, uint64_t seed, at::Device device) {
  Model model = model_layout(config);
  initialise(parameters(model), seed, device);
  if (config.positions == "sincos") {
    const int64_t grid = config.image_size / config.patch_size;
    model.encoder.positions.copy_(sincos_positions(grid, grid, config.encoder.width));
    model.decoder.positions.copy_(sincos_positions(grid, grid, config.decoder.width));
  }
  return model;
}

Forward forward(const Model& model, const at::Tensor& images, at::ScalarType compute,
                const at::Tensor& quantized, const BlockRunner* runner) {
  const Config& config = model.config;
  check_arg(compute == at::kFloat || compute == at::kBFloat16 || compute == at::kDouble,
            "vqgan::forward", "expected compute float32, bfloat16 or float64, got ", compute);
  check_images(config, images, "vqgan::forward", compute);
  const auto latents = encode_latents(model.encoder, config, images, compute, runner);
  const Quantized q = quantize(model.quantizer, config, latents, quantized);
  const auto output =
      decode_codes(model.decoder, config, q.straight_through, images.size(2) / config.patch_size,
                   images.size(3) / config.patch_size, compute, runner);
  return {q.latents, q.codes, q.ids, output, output_pictures(config, output)};
}

at::Tensor encode(const Model& model, const at::Tensor& images) {
  const Config& config = model.config;
  check_images(config, images, "vqgan::encode");
  const at::NoGradGuard no_grad;
  const auto codebook = normalized(config, model.quantizer.codebook);
  const auto ids_of = [&](const at::Tensor& pictures) {
    const auto latents = encode_latents(model.encoder, config, pictures, at::kFloat);
    return nearest_ids(config, normalized(config, latents), codebook);
  };
  if (!images.is_cpu()) return ids_of(images);
  const int64_t batch = images.size(0),
                tokens = images.size(2) / config.patch_size * (images.size(3) / config.patch_size);
  const auto ids = at::empty({batch, tokens}, at::kLong);
  for_each_picture(batch,
                   [&](int64_t k) { ids.narrow(0, k, 1).copy_(ids_of(images.narrow(0, k, 1))); });
  return ids;
}

at::Tensor decode(const Model& model, const at::Tensor& ids, int64_t grid_height,
                  int64_t grid_width) {
  const Config& config = model.config;
  check_arg(grid_height > 0 && grid_width > 0, "vqgan::decode",
            "expected a grid of at least 1 x 1, got ", grid_height, " x ", grid_width);
  check_arg(
      ids.dim() == 2 && ids.scalar_type() == at::kLong && ids.size(1) == grid_height * grid_width,
      "vqgan::decode", "expected (B, ", grid_height * grid_width, ") int64 ids, got ",
      ids.scalar_type(), " of shape ", ids.sizes());
  const at::NoGradGuard no_grad;
  if (ids.numel() > 0) {
    const auto low = ids.min().item<int64_t>(), high = ids.max().item<int64_t>();
    check(low >= 0 && high < config.codebook_size, ErrorKind::kBadData,
          "vqgan::decode: expected ids in 0 to ", config.codebook_size - 1, ", got ",
          low < 0 ? low : high);
  }
  const auto pictures_of = [&](const at::Tensor& rows) {
    const auto codes = codes_of(model.quantizer, config, rows);
    const auto output =
        decode_codes(model.decoder, config, codes, grid_height, grid_width, at::kFloat);
    return output_pictures(config, output).clamp(0.0, 1.0);
  };
  if (!ids.is_cpu()) return pictures_of(ids);
  const int64_t batch = ids.size(0);
  const auto pictures = at::empty(
      {batch, 3, grid_height * config.patch_size, grid_width * config.patch_size}, at::kFloat);
  for_each_picture(
      batch, [&](int64_t k) { pictures.narrow(0, k, 1).copy_(pictures_of(ids.narrow(0, k, 1))); });
  return pictures;
}

}  // namespace lexel::vqgan
