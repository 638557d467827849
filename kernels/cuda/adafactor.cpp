#include "kernels/cuda/adafactor.h"

#include <ATen/ops/empty.h>

#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {

void adafactor(const at::Tensor& where, const AdafactorPart& part) {
  const OnDevice device(where);
  const int64_t rows = part.rows, columns = part.columns;
  const int64_t row_tiles = (rows + kAdafactorTileRows - 1) / kAdafactorTileRows;
  const int64_t column_tiles = (columns + kAdafactorTileColumns - 1) / kAdafactorTileColumns;
  const auto options = where.options().dtype(at::kFloat).requires_grad(false);
  const at::Tensor floats =
      at::empty({column_tiles * rows + row_tiles * columns + rows + columns + 1}, options);
  const at::Tensor doubles = at::empty({row_tiles * column_tiles}, options.dtype(at::kDouble));
  AdafactorScratch scratch{};
  scratch.row_sums = floats.mutable_data_ptr<float>();
  scratch.column_sums = scratch.row_sums + column_tiles * rows;
  scratch.row_scale = scratch.column_sums + row_tiles * columns;
  scratch.column_scale = scratch.row_scale + rows;
  scratch.update_scale = scratch.column_scale + columns;
  scratch.update_sums = doubles.mutable_data_ptr<double>();
  launch_adafactor(part, scratch, device.stream());
}

}  // namespace lexel::kernels::cuda
