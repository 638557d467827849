#include "kernels/attention_mask.h"

#include "kernels/check.h"

namespace lexel::kernels {

void validate(const AttentionMask& mask, const char* function) {
  using Kind = AttentionMask::Kind;
  check_arg(mask.kind != Kind::kPrefix || mask.prefix >= 0, function,
            "expected a prefix of at least 0 keys, got ", mask.prefix);
  if (mask.kind != Kind::kConv) return;
  check_arg(mask.kernel >= 1 && mask.kernel <= 255 && mask.kernel % 2 == 1, function,
            "expected an odd conv kernel in 1..255, got ", mask.kernel);
  constexpr int64_t kMaxGridWidth = 1 << 24;  // offsets stay far from overflow
  check_arg(mask.grid_width <= kMaxGridWidth, function, "expected a grid of at most ",
            kMaxGridWidth, " tokens a row, got ", mask.grid_width);
  check_arg(mask.grid_width >= mask.kernel, function,
            "expected a grid at least as wide as the conv kernel, ", mask.kernel, ", got ",
            mask.grid_width);
}

}  // namespace lexel::kernels
