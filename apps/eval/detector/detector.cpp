#include "apps/eval/detector/detector.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <cmath>
#include <set>

#include "kernels/check.h"

namespace lexel::eval {
namespace {

constexpr int64_t kMaxNames = 4096;

int64_t count_of(const std::string& names) {
  return static_cast<int64_t>(split_names(names).size());
}

void check_names(const char* field, const std::string& names) {
  check_arg(names.size() <= 1 << 20, "DetectorConfig", "expected ", field,
            " of a megabyte at most, got ", names.size(), " bytes");
  const std::vector<std::string> list = split_names(names);
  check_arg(static_cast<int64_t>(list.size()) <= kMaxNames, "DetectorConfig", "expected ",
            kMaxNames, " ", field, " at most, got ", list.size());
  std::set<std::string> seen;
  for (const std::string& name : list) {
    check_arg(!name.empty() && seen.insert(name).second, "DetectorConfig", "expected ", field,
              " with different names, none of them empty, got \"", name, "\"");
  }
}

void list_projection(const std::string& name, Projection& projection, int64_t outputs,
                     int64_t inputs, int64_t kernel, ParameterList& list) {
  const double std = 1.0 / std::sqrt(static_cast<double>(inputs * kernel * kernel));
  list.push_back(
      {name + ".weight", {outputs, inputs, kernel, kernel}, Init::normal(std), &projection.weight});
  list.push_back({name + ".bias", {outputs}, Init::zeros(), &projection.bias, "", false});
}

at::Tensor apply(const Projection& projection, const at::Tensor& x) {
  const int64_t stride = projection.weight.size(2);
  return at::convolution(x, projection.weight.contiguous(at::MemoryFormat::ChannelsLast),
                         projection.bias, {stride, stride}, {0, 0}, {1, 1}, false, {0, 0}, 1);
}

at::Tensor activate(const at::Tensor& x) { return at::gelu(x, "tanh"); }

}  // namespace

std::vector<std::string> split_names(const std::string& names) {
  std::vector<std::string> list(1);
  for (const char c : names) {
    if (c == '|') {
      list.emplace_back();
    } else {
      list.back() += c;
    }
  }
  return list;
}

std::string join_names(const std::vector<std::string>& names) {
  std::string joined;
  for (size_t i = 0; i < names.size(); ++i) joined += (i > 0 ? "|" : "") + names[i];
  return joined;
}

void validate(const DetectorConfig& c) {
  check_arg(c.image_size >= 16 && c.image_size <= 1024 && c.image_size % 16 == 0, "DetectorConfig",
            "expected image_size a multiple of 16 in 16..1024, got ", c.image_size);
  const auto in_range = [](const char* field, int64_t value, int64_t most) {
    check_arg(value >= 1 && value <= most, "DetectorConfig", "expected ", field, " in 1..", most,
              ", got ", value);
  };
  in_range("fine_width", c.fine_width, 1024);
  in_range("middle_width", c.middle_width, 1024);
  in_range("coarse_width", c.coarse_width, 1024);
  in_range("fine_blocks", c.fine_blocks, 64);
  in_range("middle_blocks", c.middle_blocks, 64);
  in_range("coarse_blocks", c.coarse_blocks, 64);
  in_range("hidden", c.hidden, 4096);
  check_arg(c.threshold > 0 && c.threshold < 1, "DetectorConfig",
            "expected threshold between 0 and 1, got ", c.threshold);
  check_names("things", c.things);
  check_names("colours", c.colours);
  check_names("backgrounds", c.backgrounds);
}

Detector detector_layout(const DetectorConfig& config) {
  validate(config);
  Detector detector;
  detector.config = config;
  return detector;
}

Detector make_detector(const DetectorConfig& config, uint64_t seed, at::Device device) {
  Detector detector = detector_layout(config);
  initialise(parameters(detector), seed, device);
  // Centres are rare: said at the start, so that the first steps do not go into learning just that.
  detector.answers.bias[0].fill_(-4.0);
  return detector;
}

ParameterList parameters(Detector& d) {
  const DetectorConfig& c = d.config;
  ParameterList list;
  list_projection("stem", d.stem, c.fine_width, 3, 4, list);
  vqgan::list_residual_blocks("fine", d.fine, c.fine_blocks, c.fine_width, "", list);
  list_projection("halve", d.halve, c.middle_width, c.fine_width, 2, list);
  vqgan::list_residual_blocks("middle", d.middle, c.middle_blocks, c.middle_width, "", list);
  list_projection("quarter", d.quarter, c.coarse_width, c.middle_width, 2, list);
  vqgan::list_residual_blocks("coarse", d.coarse, c.coarse_blocks, c.coarse_width, "", list);
  list_projection("back", d.back, c.middle_width, c.coarse_width, 1, list);
  list_projection("hidden", d.hidden, c.hidden, c.middle_width, 1, list);
  list_projection("answers", d.answers, 2 + count_of(c.things) + count_of(c.colours), c.hidden, 1,
                  list);
  const int64_t backgrounds = count_of(c.backgrounds);
  list.push_back({"background.weight",
                  {backgrounds, c.coarse_width},
                  Init::normal(1.0 / std::sqrt(static_cast<double>(c.coarse_width))),
                  &d.background});
  list.push_back({"background.bias", {backgrounds}, Init::zeros(), &d.background_bias, "", false});
  return list;
}

DetectorMaps detect(const Detector& d, const at::Tensor& images) {
  const int64_t side = d.config.image_size;
  check_arg(images.dim() == 4 && images.size(0) > 0 && images.size(1) == 3 &&
                images.size(2) == side && images.size(3) == side,
            "detect", "expected (B, 3, ", side, ", ", side, ") pictures, got ", images.sizes());
  const at::Tensor x =
      (images * 2 - 1).to(at::kFloat, false, false, at::MemoryFormat::ChannelsLast);
  const at::Tensor fine = vqgan::run_residual_blocks(d.fine, apply(d.stem, x));  // (B, c, S/4, S/4)
  const at::Tensor middle = vqgan::run_residual_blocks(d.middle, apply(d.halve, activate(fine)));
  const at::Tensor coarse =
      activate(vqgan::run_residual_blocks(d.coarse, apply(d.quarter, activate(middle))));
  const at::Tensor around =
      at::upsample_nearest2d(apply(d.back, coarse), {side / kDetectorCell, side / kDetectorCell});
  const at::Tensor hidden = activate(apply(d.hidden, activate(middle + around)));
  const at::Tensor answers = apply(d.answers, hidden);  // (B, 2 + things + colours, g, g)
  const int64_t things = count_of(d.config.things), colours = count_of(d.config.colours);
  return {answers.select(1, 0), answers.select(1, 1), answers.narrow(1, 2, things),
          answers.narrow(1, 2 + things, colours),
          at::linear(coarse.mean({2, 3}), d.background, d.background_bias)};
}

}  // namespace lexel::eval
