#include "kernels/cuda/codebook_lookup.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <vector>

#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {

namespace {

/// Whether candidates by tensor cores, and packing the codes for them, are less work than float32 products.
bool worth_tensor_cores(const CodebookLookupArguments& arguments, const DeviceLimits& limits) {
  constexpr int64_t kFewRows = 64, kFewCodes = 256;
  const int64_t widest = limits.capability == 90   ? kMaxWidthSm90
                         : limits.capability >= 80 ? kMaxWidthMma
                                                   : 0;
  return arguments.top_k == 1 && arguments.width <= widest && arguments.num_rows >= kFewRows &&
         arguments.num_codes >= kFewCodes;
}

}  // namespace

CodebookMatch codebook_lookup(const at::Tensor& rows, const at::Tensor& codes,
                              const LookupOptions& options) {
  const OnDevice device(rows);
  std::vector<int64_t> shape = rows.sizes().vec();
  shape.pop_back();
  if (options.top_k > 1) shape.push_back(options.top_k);
  const auto code_shape = codes.sizes().slice(0, codes.dim() - 1);  // (K) or (C, K)
  const auto long_options = rows.options().dtype(at::kLong);
  CodebookMatch match{at::empty(shape, long_options), at::empty(shape, rows.options()), {}};
  if (options.count) match.counts = at::zeros(code_shape, long_options);
  const at::Tensor bias = at::empty(code_shape, rows.options());

  CodebookLookupArguments arguments{};
  arguments.rows = rows.const_data_ptr<float>();
  arguments.codes = codes.const_data_ptr<float>();
  arguments.num_books = rows.dim() == 3 ? rows.size(0) : 1;
  arguments.num_rows = rows.size(-2);
  arguments.num_codes = codes.size(-2);
  arguments.width = rows.size(-1);
  if (options.allowed.defined()) {
    arguments.allowed = options.allowed.const_data_ptr<bool>();
    arguments.allowed_step = options.allowed.dim() == 2 ? arguments.num_codes : 0;
  }
  arguments.l2 = options.metric == CodeMetric::kL2;
  arguments.top_k = options.top_k;
  arguments.bias = bias.mutable_data_ptr<float>();
  arguments.ids = match.ids.mutable_data_ptr<int64_t>();
  arguments.score = match.score.mutable_data_ptr<float>();
  if (options.count) arguments.counts = match.counts.mutable_data_ptr<int64_t>();
  if (match.ids.numel() == 0) return match;

  const DeviceLimits limits = limits_of(rows);
  if (!worth_tensor_cores(arguments, limits)) {
    launch_code_bias(arguments, nullptr, device.stream());
    launch_nearest_codes(arguments, device.stream());
    return match;
  }
  CodebookTensorScratch scratch{};
  scratch.shape = CodeTiles::of(arguments.num_codes, arguments.width);
  const int64_t num_books = arguments.num_books;
  const auto int_options = rows.options().dtype(at::kInt);
  constexpr int64_t kExtentInts = sizeof(CodeExtent) / sizeof(int32_t);
  const at::Tensor zeros = at::zeros({num_books * kExtentInts + 1}, int_options);
  const at::Tensor tiles =
      at::empty({num_books * scratch.shape.halves()}, rows.options().dtype(at::kHalf));
  const at::Tensor tile_bias =
      at::empty({num_books * scratch.shape.num_tiles * CodeTiles::kCodes}, rows.options());
  const at::Tensor hard_rows = at::empty({num_books * arguments.num_rows}, long_options);
  scratch.extents = static_cast<CodeExtent*>(zeros.mutable_data_ptr());
  scratch.num_hard =
      reinterpret_cast<unsigned*>(zeros.mutable_data_ptr<int32_t>() + num_books * kExtentInts);
  scratch.tiles = static_cast<uint16_t*>(tiles.mutable_data_ptr());
  scratch.tile_bias = tile_bias.mutable_data_ptr<float>();
  scratch.hard_rows = hard_rows.mutable_data_ptr<int64_t>();
  launch_code_bias(arguments, scratch.extents, device.stream());
  launch_pack_codes(arguments, scratch, device.stream());
  const auto launch_candidates =
      limits.capability == 90 ? launch_candidates_sm90 : launch_candidates_mma;
  launch_candidates(arguments, scratch, limits.multiprocessors, device.stream());
  launch_hard_rows(arguments, scratch, limits.multiprocessors, device.stream());
  return match;
}

}  // namespace lexel::kernels::cuda
