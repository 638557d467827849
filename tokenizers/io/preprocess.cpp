#include "tokenizers/io/preprocess.h"

#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <algorithm>

#include "kernels/check.h"
#include "tokenizers/io/codecs.h"

namespace lexel {
namespace {

constexpr int64_t kMaxImageSize = 16384;

void check_kernel(const std::string& kernel) {
  check_arg(kernel == "bicubic" || kernel == "bilinear" || kernel == "box", "resize",
            "expected kernel bicubic, bilinear or box, got ", kernel);
}

at::Tensor resize_batch(const at::Tensor& images, int64_t height, int64_t width,
                        const std::string& kernel) {
  if (images.size(2) == height && images.size(3) == width) return images;
  const std::vector<int64_t> size{height, width};
  if (kernel == "bicubic") return at::_upsample_bicubic2d_aa(images, size, false);
  if (kernel == "bilinear") return at::_upsample_bilinear2d_aa(images, size, false);
  return at::adaptive_avg_pool2d(images, size);
}

at::Tensor resized(const at::Tensor& chw, int64_t height, int64_t width,
                   const std::string& kernel) {
  return resize(chw, height, width, kernel).clamp(0, 1);
}

// The mean colour of the outermost rows and columns, (3, 1, 1).
at::Tensor edge_mean(const at::Tensor& chw) {
  const at::Tensor rows = at::cat({chw.select(1, 0), chw.select(1, -1)}, 1);     // (3, 2 W)
  const at::Tensor columns = at::cat({chw.select(2, 0), chw.select(2, -1)}, 1);  // (3, 2 H)
  return at::cat({rows, columns}, 1).mean(1).view({3, 1, 1});
}

at::Tensor canvas_of(const Image& image, const Layout& layout, const Preprocess& preprocess) {
  const int64_t size = preprocess.image_size, width = image.width(), height = image.height();
  if (preprocess.fit == "crop") {
    const int64_t side = std::min(width, height);
    const Image square{image.pixels.narrow(0, (height - side) / 2, side)
                           .narrow(1, (width - side) / 2, side)
                           .contiguous()};
    return resized(to_tensor(square), size, size, preprocess.kernel);
  }
  const at::Tensor picture = to_tensor(image);  // (3, H, W)
  if (preprocess.fit == "stretch") return resized(picture, size, size, preprocess.kernel);
  if (preprocess.fit == "pad") {
    const at::Tensor shown =
        resized(picture, layout.shown_height, layout.shown_width, preprocess.kernel);
    at::Tensor canvas = edge_mean(shown).expand({3, size, size}).contiguous();
    canvas.narrow(1, layout.top, layout.shown_height)
        .narrow(2, layout.left, layout.shown_width)
        .copy_(shown);
    return canvas;
  }
  at::Tensor canvas = at::empty({3, layout.rows * size, layout.columns * size}, picture.options());
  canvas.narrow(1, 0, height).narrow(2, 0, width).copy_(picture);
  const int64_t right = layout.columns * size - width, below = layout.rows * size - height;
  const at::Tensor filled = canvas.narrow(1, 0, height);
  if (right > 0) filled.narrow(2, width, right).copy_(filled.narrow(2, width - 1, 1));
  if (below > 0) canvas.narrow(1, height, below).copy_(canvas.narrow(1, height - 1, 1));
  return canvas;
}

}  // namespace

void validate(const Preprocess& preprocess) {
  const std::string& fit = preprocess.fit;
  check_arg(fit == "crop" || fit == "pad" || fit == "stretch" || fit == "tiles", "preprocess",
            "expected fit crop, pad, stretch or tiles, got ", fit);
  check_kernel(preprocess.kernel);
  check_arg(preprocess.image_size >= 1 && preprocess.image_size <= kMaxImageSize, "preprocess",
            "expected an image size from 1 to ", kMaxImageSize, ", got ", preprocess.image_size);
}

Layout make_layout(int64_t width, int64_t height, const Preprocess& preprocess) {
  validate(preprocess);
  codecs::check_size("layout", width, height);
  const int64_t size = preprocess.image_size;
  Layout layout{.width = width, .height = height, .shown_width = size, .shown_height = size};
  if (preprocess.fit == "tiles") {
    layout.columns = (width + size - 1) / size;
    layout.rows = (height + size - 1) / size;
    layout.shown_width = width;
    layout.shown_height = height;
  } else if (preprocess.fit == "pad") {
    const int64_t longer = std::max(width, height);  // rounded to nearest, at least one pixel
    layout.shown_width = std::max<int64_t>(1, (2 * width * size + longer) / (2 * longer));
    layout.shown_height = std::max<int64_t>(1, (2 * height * size + longer) / (2 * longer));
    layout.left = (size - layout.shown_width) / 2;
    layout.top = (size - layout.shown_height) / 2;
  }
  return layout;
}

Prepared prepare(const Image& image, const Preprocess& preprocess) {
  const Layout layout = make_layout(image.width(), image.height(), preprocess);
  const int64_t size = preprocess.image_size;
  const at::Tensor tiles = canvas_of(image, layout, preprocess)
                               .view({3, layout.rows, size, layout.columns, size})
                               .permute({1, 3, 0, 2, 4})  // (rows, columns, 3, size, size)
                               .reshape({-1, 3, size, size});
  return {tiles, layout};
}

Image restore(const at::Tensor& tiles, const Layout& layout, const Preprocess& preprocess) {
  check(layout == make_layout(layout.width, layout.height, preprocess), ErrorKind::kBadData,
        "the layout of a picture of ", layout.width, " x ", layout.height,
        " pixels contradicts fit ", preprocess.fit, " at ", preprocess.image_size, " pixels");
  const int64_t size = preprocess.image_size;
  const std::vector<int64_t> expected{layout.rows * layout.columns, 3, size, size};
  check_arg(tiles.sizes().equals(expected) && tiles.is_floating_point(), "restore",
            "expected tiles of floating point ", at::IntArrayRef(expected), ", got ",
            tiles.sizes());
  const at::Tensor shown = tiles.detach()
                               .to(at::kCPU, at::kFloat)
                               .view({layout.rows, layout.columns, 3, size, size})
                               .permute({2, 0, 3, 1, 4})  // (3, rows, size, columns, size)
                               .reshape({3, layout.rows * size, layout.columns * size})
                               .narrow(1, layout.top, layout.shown_height)
                               .narrow(2, layout.left, layout.shown_width);
  if (preprocess.fit == "crop") return to_image(shown);
  return to_image(resize(shown, layout.height, layout.width, preprocess.kernel));
}

at::Tensor resize(const at::Tensor& chw, int64_t height, int64_t width, const std::string& kernel) {
  check_kernel(kernel);
  check_arg(chw.dim() == 3 && chw.numel() > 0 && chw.is_floating_point(), "resize",
            "expected (C, H, W) of floating point, got ", chw.sizes(), " ", chw.scalar_type());
  check_arg(height >= 1 && width >= 1, "resize", "expected a size of at least 1 x 1, got ", width,
            " x ", height);
  return resize_batch(chw.unsqueeze(0), height, width, kernel).squeeze(0);
}

Image resize(const Image& image, int64_t height, int64_t width, const std::string& kernel) {
  check_kernel(kernel);
  check_arg(height >= 1 && width >= 1, "resize", "expected a size of at least 1 x 1, got ", width,
            " x ", height);
  if (image.height() == height && image.width() == width) return image;
  if (kernel == "box") return to_image(resize(to_tensor(image), height, width, kernel));
  // (1, 3, H, W) with the memory of (H, W, 3): ATen's 8-bit path for channels last
  const at::Tensor images = image.pixels.permute({2, 0, 1}).unsqueeze(0);
  return {resize_batch(images, height, width, kernel).squeeze(0).permute({1, 2, 0}).contiguous()};
}

}  // namespace lexel
