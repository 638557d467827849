#include "apps/txt2img/heat_picture.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linspace.h>
#include <algorithm>
#include <cstdio>
#include <string_view>

#include "kernels/check.h"
#include "tokenizers/io/bitmap_text.h"
#include "tokenizers/io/contact_sheet.h"
#include "tokenizers/io/preprocess.h"

namespace lexel::cli {
namespace {

constexpr int64_t kPanel = 384;  // pixels a side, at least
constexpr double kOpacity = 0.65;
constexpr Ink kInk = {40, 40, 40};
constexpr uint8_t kPaper = 245;
constexpr int64_t kLegendHeight = 48, kMargin = 8, kBarHeight = 12, kScale = 2;  // pixels

// Nine colours of viridis, evenly spaced. source  Smith and van der Walt 2015, matplotlib, CC0
constexpr Ink kColours[] = {{68, 1, 84},    {71, 44, 122},  {59, 81, 139},
                            {44, 113, 142}, {33, 144, 141}, {39, 173, 129},
                            {92, 200, 99},  {170, 220, 50}, {253, 231, 37}};
constexpr int64_t kLast = sizeof kColours / sizeof kColours[0] - 1;

/// values   (h, w) in [0, 1]
/// returns  (3, h, w) in [0, 1]
at::Tensor coloured(const at::Tensor& values) {
  at::Tensor out = at::empty({3, values.size(0), values.size(1)}, at::kFloat);
  auto to = out.accessor<float, 3>();
  const at::Tensor level = values.to(at::kFloat).contiguous();
  auto from = level.accessor<float, 2>();
  for (int64_t y = 0; y < values.size(0); ++y) {
    for (int64_t x = 0; x < values.size(1); ++x) {
      const float place = std::clamp(from[y][x], 0.0F, 1.0F) * kLast;
      const auto below = std::min(static_cast<int64_t>(place), kLast - 1);
      const float part = place - static_cast<float>(below);
      for (size_t c = 0; c < 3; ++c) {
        const auto low = static_cast<float>(kColours[below][c]);
        const auto high = static_cast<float>(kColours[below + 1][c]);
        to[static_cast<int64_t>(c)][y][x] = (low + part * (high - low)) / 255.0F;
      }
    }
  }
  return out;
}

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  if (std::string_view(text) == "-0.00") return "0.00";
  return text;
}

int64_t text_width(const std::string& text) {
  return static_cast<int64_t>(text.size()) * kLetterWidth * kScale;
}

at::Tensor legend(int64_t width, double low, double high, const std::string& title) {
  at::Tensor pixels = at::full({kLegendHeight, width, 3}, kPaper, at::kByte);  // (H, W, 3)
  const std::string left = short_number(low), right = short_number(high);
  const int64_t bar = kMargin + text_width(left) + kMargin;
  const int64_t bar_width = std::max<int64_t>(1, width - bar - 2 * kMargin - text_width(right));
  const at::Tensor ramp = coloured(at::linspace(0, 1, bar_width).unsqueeze(0));  // (3, 1, W)
  const int64_t top = 26;
  pixels.narrow(0, top, kBarHeight)
      .narrow(1, bar, bar_width)
      .copy_(to_image(ramp).pixels.expand({kBarHeight, bar_width, 3}));
  draw_text_(pixels, kMargin, 4, title, kInk, kScale);
  draw_text_(pixels, kMargin, top, left, kInk, kScale);
  draw_text_(pixels, bar + bar_width + kMargin, top, right, kInk, kScale);
  return pixels;
}

}  // namespace

Image heat_picture(const at::Tensor& picture, const at::Tensor& values, const std::string& title) {
  check_arg(picture.dim() == 3 && picture.size(0) == 3 && values.dim() == 2 && values.numel() > 0,
            "heat_picture", "expected (3, S, S) and (h, w), got ", picture.sizes(), " and ",
            values.sizes());
  const int64_t size =
      std::max<int64_t>(1, (kPanel + picture.size(1) - 1) / picture.size(1)) * picture.size(1);
  const double low = values.min().item<double>(), high = values.max().item<double>();
  const at::Tensor level = (values - low) / (high > low ? high - low : 1.0);  // (h, w) in [0, 1]
  const at::Tensor large = resize(picture, size, size, "box");
  const at::Tensor gray = large.mean(0, /*keepdim=*/true).expand({3, size, size});
  const at::Tensor heat = resize(coloured(level), size, size, "box");
  const Image sheet =
      contact_sheet({{to_image(large), to_image(gray * (1 - kOpacity) + heat * kOpacity)}});
  return {at::cat({sheet.pixels, legend(sheet.width(), low, high, title)}, 0)};
}

}  // namespace lexel::cli
