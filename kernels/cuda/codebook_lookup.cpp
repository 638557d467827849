#include "kernels/cuda/codebook_lookup.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <vector>

#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {

namespace {

constexpr int64_t kFewRows = 64;

/// Whether candidates by tensor cores, and packing the codes for them, are less work than float32 products.
bool worth_tensor_cores(const CodebookLookupArguments& arguments, const DeviceLimits& limits) {
  constexpr int64_t kFewCodes = 256;
  const int64_t widest = limits.capability == 90   ? kMaxWidthSm90
                         : limits.capability >= 80 ? kMaxWidthMma
                                                   : 0;
  return arguments.width <= widest && arguments.num_rows >= kFewRows &&
         arguments.num_codes >= kFewCodes;
}

int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

/// One code a row: by tensor cores, or by scanning all codes.
void find_nearest(const CodebookLookupArguments& arguments, const DeviceLimits& limits,
                  const at::TensorOptions& options, Stream stream) {
  const int64_t num_books = arguments.num_books, all_rows = num_books * arguments.num_rows;
  const bool tensor_cores = worth_tensor_cores(arguments, limits);
  // Zeros: the scan's keys (64 bits) and counters, the extents, the number of hard rows.
  constexpr int64_t kExtentInts = sizeof(CodeExtent) / sizeof(int32_t);
  const int64_t num_groups = divide_up(all_rows, CodebookScan::kRows);
  const at::Tensor zeros =
      at::zeros({2 * all_rows + num_groups + num_books * kExtentInts + 1}, options.dtype(at::kInt));
  auto* const ints = zeros.mutable_data_ptr<int32_t>();
  CodebookScan scan{};
  scan.keys = reinterpret_cast<unsigned long long*>(ints);
  scan.done = reinterpret_cast<unsigned*>(ints + 2 * all_rows);
  if (!tensor_cores) {
    launch_code_bias(arguments, nullptr, stream);
    launch_scan(arguments, scan, limits.multiprocessors, stream);
    return;
  }
  CodebookTensorScratch scratch{};
  scratch.shape = CodeTiles::of(arguments.num_codes, arguments.width);
  const at::Tensor tiles =
      at::empty({num_books * scratch.shape.halves()}, options.dtype(at::kHalf));
  const at::Tensor tile_bias =
      at::empty({num_books * scratch.shape.num_tiles * CodeTiles::kCodes}, options);
  const at::Tensor hard_rows = at::empty({all_rows}, options.dtype(at::kLong));
  scratch.extents = reinterpret_cast<CodeExtent*>(scan.done + num_groups);
  scratch.num_hard = scan.done + num_groups + num_books * kExtentInts;
  scratch.tiles = static_cast<uint16_t*>(tiles.mutable_data_ptr());
  scratch.tile_bias = tile_bias.mutable_data_ptr<float>();
  scratch.hard_rows = hard_rows.mutable_data_ptr<int64_t>();
  scan.list = scratch.hard_rows;
  scan.count = scratch.num_hard;
  launch_code_bias(arguments, scratch.extents, stream);
  launch_pack_codes(arguments, scratch, stream);
  const auto launch_candidates =
      limits.capability == 90 ? launch_candidates_sm90 : launch_candidates_mma;
  launch_candidates(arguments, scratch, limits.multiprocessors, stream);
  launch_scan(arguments, scan, limits.multiprocessors, stream);
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
  if (options.top_k == 1 &&
      (arguments.num_rows < kFewRows || worth_tensor_cores(arguments, limits))) {
    find_nearest(arguments, limits, rows.options(), device.stream());
  } else {
    launch_code_bias(arguments, nullptr, device.stream());
    launch_nearest_codes(arguments, device.stream());
  }
  return match;
}

}  // namespace lexel::kernels::cuda
