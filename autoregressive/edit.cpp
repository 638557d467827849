#include "autoregressive/edit.h"

#include <ATen/ops/lerp.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <algorithm>

#include "kernels/check.h"
#include "tokenizers/io/preprocess.h"

namespace lexel {
namespace {

/// The photo's centre square with the tokens of all cells that are not to be redrawn.
Edit edit_cells(const ImageTokenizer& tokenizer, const Image& photo, const at::Tensor& redraw) {
  Preprocess preprocess = tokenizer.info().preprocess;
  preprocess.fit = "crop";
  const at::Tensor tile = prepare(photo, preprocess).tiles;     // (1, 3, S, S)
  const at::Tensor tokens = tokenizer.encode(tile).squeeze(0);  // (N)
  return {tile.squeeze(0), redraw, tokens.masked_fill(redraw.flatten(), -1)};
}

}  // namespace

Edit edit_masked(const ImageTokenizer& tokenizer, const Image& photo, const Image& mask) {
  check(mask.width() == photo.width() && mask.height() == photo.height(), ErrorKind::kBadData,
        "the mask has ", mask.width(), " x ", mask.height(), " pixels, the photo ", photo.width(),
        " x ", photo.height(), ": they must be of one size");
  const int64_t side = std::min(mask.width(), mask.height());  // as Preprocess "crop" cuts it
  const at::Tensor light = mask.pixels.narrow(0, (mask.height() - side) / 2, side)
                               .narrow(1, (mask.width() - side) / 2, side)
                               .sum(2)  // of three channels
                               .ge(3 * 128)
                               .to(at::kFloat);  // (side, side)
  // "box" is the mean of all pixels that a cell touches: above 0 where one of them is light.
  const TokenizerInfo& info = tokenizer.info();
  const at::Tensor redraw =
      resize(light.unsqueeze(0), info.grid_height, info.grid_width, "box").squeeze(0).gt(0);
  check(redraw.any().item<bool>(), ErrorKind::kBadData,
        "the mask has no light pixel in the photo's centre square: nothing to redraw");
  return edit_cells(tokenizer, photo, redraw);
}

Edit edit_below(const ImageTokenizer& tokenizer, const Image& photo, int64_t rows) {
  const TokenizerInfo& info = tokenizer.info();
  check_arg(rows >= 1 && rows < info.grid_height, "keep-top", "expected 1 to ",
            info.grid_height - 1, " rows of tokens, got ", rows);
  const at::Tensor redraw = at::zeros({info.grid_height, info.grid_width}, at::kBool);
  redraw.narrow(0, rows, info.grid_height - rows).fill_(true);
  return edit_cells(tokenizer, photo, redraw);
}

at::Tensor blend(const Edit& edit, const at::Tensor& drawn) {
  check_arg(drawn.sizes().equals(edit.photo.sizes()), "blend", "expected a picture ",
            edit.photo.sizes(), ", got ", drawn.sizes());
  const int64_t height = drawn.size(1), width = drawn.size(2);
  const at::Tensor cells =
      resize(edit.redraw.unsqueeze(0).to(at::kFloat), height, width, "box");  // (1, S, S)
  // The mean of the redrawn area grown by 0..n pixels falls from 1 to 0 over n pixels around it.
  const int64_t ramp = height / edit.redraw.size(0) / 2;
  at::Tensor weight = at::zeros_like(cells);
  for (int64_t grown = 0; grown <= ramp; ++grown) {
    weight += at::max_pool2d(cells, 2 * grown + 1, /*stride=*/1, /*padding=*/grown);
  }
  weight /= static_cast<double>(ramp + 1);  // 0 and 1 are exact
  return at::lerp(edit.photo, drawn, weight).clamp(0, 1);
}

}  // namespace lexel
