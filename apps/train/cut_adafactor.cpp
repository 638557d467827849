#include "apps/train/cut_adafactor.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <utility>

#include "kernels/check.h"

namespace lexel::train {
namespace {

using Ranges = std::vector<std::pair<int64_t, int64_t>>;

constexpr int64_t kSpan = kernels::kAdafactorScaleSpan;

/// The ranges of scales of ranges of values, `unit` of these behind each other in each; false where they part blocks. A block may be cut short
/// only by the `end` of all.
bool find_scales(const Ranges& ranges, int64_t unit, int64_t end, Ranges& found) {
  for (const auto& [first, count] : ranges) {
    const int64_t begin = first * unit, length = count * unit;
    if (begin % kSpan != 0 || (length % kSpan != 0 && begin + length != end)) return false;
    found.emplace_back(begin / kSpan, (length + kSpan - 1) / kSpan);
  }
  return true;
}

}  // namespace

FactorPlaces factor_places(const std::string& name, const PlaceOfTensor& place, int64_t rank,
                           bool int8) {
  const std::vector<int64_t>& shape = place.shape;
  const auto dims = static_cast<int64_t>(shape.size());
  FactorPlaces found;
  found.whole = {1, dims == 0 ? 1 : shape.back()};
  for (int64_t d = 0; d + 1 < dims; ++d) found.whole.rows *= shape[static_cast<size_t>(d)];
  const auto [rows, columns] = found.whole;
  const bool whole_blocks = dims > 1 && columns % kSpan == 0;  // of each row
  found.rows = {{rows}, {}, place.counts, place.axis};
  found.columns = {{columns}, {}, place.counts, place.axis};
  found.scales = {{(rows * columns + kSpan - 1) / kSpan}, {}, place.counts, place.axis};
  if (whole_blocks) found.scales.shape = {rows, columns / kSpan};
  if (place.part.ranges.empty()) return found;

  const int64_t dim = place.part.dim;
  check_arg(dim == 0 || dim == dims - 1, "factor_places", name,
            ": expected a cut along the first or last dimension, got ", dim);
  found.by_rows = dims > 1 && dim == 0;
  Ranges ranges = place.part.ranges;
  bool aligned = true;
  if (found.by_rows) {
    for (auto& [first, count] : ranges) {  // of shape[0] to rows
      first *= rows / shape[0];
      count *= rows / shape[0];
    }
    found.rows.part = {0, ranges};
    found.columns.counts = found.columns.counts && rank == 0;
    found.scales.part.dim = 0;
    if (whole_blocks)
      found.scales.part.ranges = ranges;
    else
      aligned = find_scales(ranges, columns, rows * columns, found.scales.part.ranges);
  } else {
    found.columns.part = {0, ranges};
    found.rows.counts = found.rows.counts && rank == 0;
    found.scales.part.dim = whole_blocks ? 1 : 0;
    aligned =
        (dims == 1 || whole_blocks) && find_scales(ranges, 1, columns, found.scales.part.ranges);
  }
  check(aligned || !int8, ErrorKind::kUnsupported, "axis ", place.axis,
        ": adafactor_int8: the cut of ", name, " parts weights that share a scale (", kSpan,
        " behind each other); set optimizer to adafactor, or cut along fewer ranks");
  return found;
}

void update_cut_tensors(const std::vector<AdafactorUpdate>& updates, parallel::Group& group) {
  if (updates.empty()) return;
  // Sums over what the group has cut: of all tensors in one go, there and back.
  const auto add_up = [&group](const std::vector<at::Tensor>& values) {
    at::Tensor flat = at::cat(values);
    group.all_reduce(flat);
    int64_t begin = 0;
    for (const at::Tensor& value : values) {
      value.copy_(flat.narrow(0, begin, value.numel()));
      begin += value.numel();
    }
  };
  std::vector<at::Tensor> squares, totals, shared;
  for (const AdafactorUpdate& u : updates) {
    const int64_t rows = u.state->row_factor.numel(), columns = u.state->column_factor.numel();
    squares.push_back(u.gradient.defined()
                          ? kernels::adafactor_squares(u.gradient)
                          : at::zeros({rows + columns}, u.weights.options().dtype(at::kDouble)));
    shared.push_back(u.places->by_rows ? squares.back().narrow(0, rows, columns)
                                       : squares.back().narrow(0, 0, rows));
  }
  add_up(shared);
  for (size_t i = 0; i < updates.size(); ++i) {
    const AdafactorUpdate& u = updates[i];
    totals.push_back(u.gradient.defined()
                         ? kernels::adafactor_factors_(u.gradient, squares[i], *u.state,
                                                       u.places->whole, u.options)
                         : at::zeros({2}, squares[i].options()));
    // Where columns are cut, each rank has all of the row factor.
    if (!u.places->by_rows && group.rank() != 0) totals.back().narrow(0, 0, 1).zero_();
  }
  add_up(totals);
  for (size_t i = 0; i < updates.size(); ++i) {
    const AdafactorUpdate& u = updates[i];
    if (u.gradient.defined())
      kernels::adafactor_update_(u.weights, u.gradient, totals[i], *u.state, u.places->whole,
                                 u.options);
  }
}

}  // namespace lexel::train
