#include "tokenizers/io/model_tensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "kernels/int8_rounding.h"

namespace lexel {
namespace {

constexpr const char* kScales = ".scales";

void check_finite(const at::Tensor& tensor, const std::string& prefix, const std::string& key) {
  check(at::isfinite(tensor).all().item<bool>(), ErrorKind::kBadData, prefix, "tensor \"", key,
        "\" holds a value that is not finite");
}

/// A parameter as it lies in a file.
struct Stored {
  at::Tensor values;
  at::Tensor scales;  // undefined: `values` are floats
};

/// value    (O, ...) float32, contiguous
/// returns  (O, ...) int8 and (O) float32
Stored to_int8_rows(const at::Tensor& value) {
  const int64_t rows = value.size(0), width = value.numel() / std::max<int64_t>(rows, 1);
  const Stored result{at::empty(value.sizes(), at::kChar), at::empty({rows}, at::kFloat)};
  const float* const source = value.const_data_ptr<float>();
  int8_t* const values = result.values.mutable_data_ptr<int8_t>();
  float* const scales = result.scales.mutable_data_ptr<float>();
  for (int64_t row = 0; row < rows; ++row) {
    const float* const from = source + row * width;
    float largest = 0.0F;
    for (int64_t i = 0; i < width; ++i) largest = std::max(largest, std::abs(from[i]));
    scales[row] = kernels::int8_scale(largest);
    for (int64_t i = 0; i < width; ++i) {
      values[row * width + i] = kernels::to_int8(from[i], scales[row]);
    }
  }
  return result;
}

at::Tensor widened(const Stored& stored, at::Device device) {
  const at::Tensor floats =
      stored.values.to(device, at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  if (stored.scales.defined())  // the rows are views
    floats.flatten(1).mul_(stored.scales.to(device, at::kFloat).unsqueeze(1));
  return floats;
}

}  // namespace

std::map<std::string, at::Tensor> store_parameters(const ParameterList& parameters,
                                                   at::ScalarType stored) {
  const bool int8 = stored == at::kChar;
  check_arg(int8 || stored == at::kFloat || stored == at::kBFloat16 || stored == at::kHalf,
            "store_parameters", "expected float32, bfloat16, float16 or int8, got ", stored);
  std::map<std::string, at::Tensor> tensors;
  for (const Parameter& parameter : parameters) {
    const at::Tensor value = parameter.tensor->detach().cpu().to(at::kFloat).contiguous();
    at::Tensor& target = tensors[parameter.name];
    target = value.to(value.dim() > 1 && !int8 ? stored : at::kFloat);
    check_finite(target, "", parameter.name);
    if (int8 && value.dim() > 1) {
      const Stored rows = to_int8_rows(value);
      target = rows.values;
      tensors[parameter.name + kScales] = rows.scales;
    }
  }
  return tensors;
}

void read_parameters(const ParameterList& parameters, std::map<std::string, at::Tensor> tensors,
                     const std::string& name, at::Device device) {
  const auto take = [&](const std::string& key, at::IntArrayRef shape) {
    const auto found = tensors.extract(key);
    check(!found.empty(), ErrorKind::kBadData, name, ": tensor \"", key, "\" is missing");
    const at::Tensor value = found.mapped();
    check(value.sizes() == shape, ErrorKind::kBadData, name, ": tensor \"", key,
          "\": expected shape ", shape, ", got ", value.sizes());
    return value;
  };
  const auto check_floats = [&](const at::Tensor& value, const std::string& key) {
    check(value.is_floating_point(), ErrorKind::kBadData, name, ": tensor \"", key,
          "\": expected floats, got ", value.scalar_type());
  };
  std::vector<Stored> stored;
  for (const Parameter& parameter : parameters) {
    Stored one{take(parameter.name, parameter.shape), {}};
    if (one.values.scalar_type() == at::kChar && one.values.dim() > 1) {
      const std::string scales = parameter.name + kScales;
      one.scales = take(scales, parameter.shape[0]);
      check_floats(one.scales, scales);
    } else {
      check_floats(one.values, parameter.name);
    }
    stored.push_back(std::move(one));
  }
  if (!tensors.empty()) {
    fail(ErrorKind::kBadData, name, ": tensor \"", tensors.begin()->first, "\" is unexpected");
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Stored one = std::exchange(stored[i], {});  // its memory goes when it is read
    *parameters[i].tensor = widened(one, device);
    check_finite(*parameters[i].tensor, name + ": ", parameters[i].name);
  }
}

}  // namespace lexel
