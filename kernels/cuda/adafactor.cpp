#include "kernels/cuda/adafactor.h"

#include <ATen/ops/empty.h>

#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {

namespace {

/// Room for a step on the device of `where`.
struct Scratch {
  at::Tensor floats, doubles;
  AdafactorScratch pointers{};

  Scratch(const at::Tensor& where, const AdafactorPart& part) {
    const int64_t rows = part.rows, columns = part.columns;
    const int64_t row_tiles = (rows + kAdafactorTileRows - 1) / kAdafactorTileRows;
    const int64_t column_tiles = (columns + kAdafactorTileColumns - 1) / kAdafactorTileColumns;
    const auto options = where.options().dtype(at::kFloat).requires_grad(false);
    floats = at::empty({column_tiles * rows + row_tiles * columns + rows + columns + 1}, options);
    doubles = at::empty({row_tiles * column_tiles}, options.dtype(at::kDouble));
    pointers.row_sums = floats.mutable_data_ptr<float>();
    pointers.column_sums = pointers.row_sums + column_tiles * rows;
    pointers.row_scale = pointers.column_sums + row_tiles * columns;
    pointers.column_scale = pointers.row_scale + rows;
    pointers.update_scale = pointers.column_scale + columns;
    pointers.update_sums = doubles.mutable_data_ptr<double>();
  }
};

}  // namespace

void adafactor(const at::Tensor& where, const AdafactorPart& part) {
  const OnDevice device(where);
  launch_adafactor(part, Scratch(where, part).pointers, device.stream());
}

void adafactor_squares(const at::Tensor& where, const AdafactorPart& part, double* sums) {
  const OnDevice device(where);
  launch_adafactor_squares(part, Scratch(where, part).pointers, sums, device.stream());
}

void adafactor_factors(const at::Tensor& where, const AdafactorPart& part, const double* sums,
                       double* totals) {
  const OnDevice device(where);
  launch_adafactor_factors(part, Scratch(where, part).pointers, sums, totals, device.stream());
}

void adafactor_update(const at::Tensor& where, const AdafactorPart& part, const double* totals) {
  const OnDevice device(where);
  launch_adafactor_update(part, Scratch(where, part).pointers, totals, device.stream());
}

}  // namespace lexel::kernels::cuda
