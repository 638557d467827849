#include "kernels/parameters.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel {
namespace {

// Values per Philox stream: the chunks are filled in parallel and give the same numbers for any
// number of threads.
constexpr int64_t kChunk = 4096;

/// One normal value within two standard deviations.
double truncated_normal(Philox& random) {
  double value = random.normal();
  while (std::abs(value) > 2.0) value = random.normal();
  return value;
}

at::Tensor normal_tensor(const Parameter& parameter, uint64_t seed) {
  at::Tensor result = at::empty(parameter.shape, at::kFloat);
  float* values = result.data_ptr<float>();
  const int64_t count = result.numel();
  // All 64 bits of the name's hash are in the counter: half as the purpose, half above the chunk's
  // number.
  const uint64_t hash = fnv1a(parameter.name);
  const auto purpose = static_cast<uint32_t>(hash >> 32);
  at::parallel_for(0, (count + kChunk - 1) / kChunk, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      Philox random(seed, purpose, hash << 32 | static_cast<uint64_t>(chunk));
      const int64_t last = std::min(count, (chunk + 1) * kChunk);
      for (int64_t i = chunk * kChunk; i < last; ++i) {
        values[i] = static_cast<float>(parameter.init.std * truncated_normal(random));
      }
    }
  });
  return result;
}

at::Tensor fresh(const Parameter& parameter, uint64_t seed) {
  switch (parameter.init.kind) {
    case Init::Kind::kZeros:
      return at::zeros(parameter.shape, at::kFloat);
    case Init::Kind::kOnes:
      return at::ones(parameter.shape, at::kFloat);
    case Init::Kind::kNormal:
      return normal_tensor(parameter, seed);
  }
  fail(ErrorKind::kInternal, "initialise: ", parameter.name, ": unknown kind of first value");
}

}  // namespace

void initialise(const ParameterList& parameters, uint64_t seed, at::Device device) {
  for (const Parameter& parameter : parameters) {
    *parameter.tensor = fresh(parameter, seed).to(device);
  }
}

int64_t parameter_count(const ParameterList& parameters, bool trained_only) {
  int64_t count = 0;
  for (const Parameter& parameter : parameters) {
    if (trained_only && !parameter.trained) continue;
    int64_t size = 1;
    for (const int64_t side : parameter.shape) size *= side;
    count += size;
  }
  return count;
}

std::map<std::string, at::Tensor> named_tensors(const ParameterList& parameters) {
  std::map<std::string, at::Tensor> result;
  for (const Parameter& parameter : parameters) {
    const bool is_new = result.emplace(parameter.name, parameter.tensor->detach()).second;
    check(is_new, ErrorKind::kInternal, "named_tensors: two parameters are called ",
          parameter.name);
  }
  return result;
}

void assign(const ParameterList& parameters, const std::map<std::string, at::Tensor>& values) {
  // Everything is checked before anything is written, so a bad file leaves the model as it was.
  for (const Parameter& parameter : parameters) {
    const auto found = values.find(parameter.name);
    check(found != values.end(), ErrorKind::kBadData, "tensor ", parameter.name, " is missing");
    const at::Tensor& value = found->second;
    check(value.sizes() == at::IntArrayRef(parameter.shape), ErrorKind::kBadData, "tensor ",
          parameter.name, ": expected shape ", at::IntArrayRef(parameter.shape), ", got ",
          value.sizes());
    check(at::isfinite(value.to(at::kFloat)).all().item<bool>(), ErrorKind::kBadData, "tensor ",
          parameter.name, " holds a value that is not finite");
  }
  if (values.size() != parameters.size()) {
    std::map<std::string, at::Tensor> unexpected = values;
    for (const Parameter& parameter : parameters) unexpected.erase(parameter.name);
    check(unexpected.empty(), ErrorKind::kBadData, "tensor ",
          unexpected.empty() ? "" : unexpected.begin()->first, " is unexpected");
    fail(ErrorKind::kInternal, "assign: two parameters have one name");
  }
  const at::NoGradGuard no_grad;
  for (const Parameter& parameter : parameters) {
    parameter.tensor->copy_(values.at(parameter.name));
  }
}

void require_gradients(const ParameterList& parameters, bool required) {
  for (const Parameter& parameter : parameters) {
    parameter.tensor->requires_grad_(required && parameter.trained);
  }
}

void move_to(const ParameterList& parameters, at::Device device) {
  const at::NoGradGuard no_grad;
  for (const Parameter& parameter : parameters) {
    const bool required = parameter.tensor->requires_grad();
    *parameter.tensor = parameter.tensor->detach().to(device).requires_grad_(required);
  }
}

}  // namespace lexel
