// codebook_lookup by bfloat16 candidates must give the bits of float32 throughout, with each kind of tiles: those of this
// machine, and AMX emulated.

#include "kernels/cpu/codebook_bfloat.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <string>
#include <vector>

#include "kernels/codebook_lookup.h"
#include "kernels/cpu/codebook_lookup.h"
#include "kernels/cpu/machine.h"
#include "tests/support/emulated_amx.h"
#include "tests/support/kernel_paths.h"
#include "tests/support/lookup_paths.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using cpu::BfloatTiles;
using cpu::LookupPath;
using tests::OnlyLookupPath;
using tests::random_tensor;
using tests::same_bits;

std::vector<const BfloatTiles*> all_tiles() {
  std::vector<const BfloatTiles*> result{&tests::emulated_amx_tiles()};
  if (cpu::bfloat_dot_tiles() != nullptr) result.push_back(cpu::bfloat_dot_tiles());
  if (cpu::amx_tiles() != nullptr) result.push_back(cpu::amx_tiles());
  return result;
}

void expect_bits_of_float32(const at::Tensor& rows, const at::Tensor& codes,
                            const LookupOptions& options) {
  tests::on_every_target([&] {
    CodebookMatch wanted;
    {
      const OnlyLookupPath only(LookupPath::kPanels);
      wanted = codebook_lookup(rows, codes, options);
    }
    for (const BfloatTiles* const tiles : all_tiles()) {
      SCOPED_TRACE(tiles->name);
      const OnlyLookupPath only(LookupPath::kBfloat, tiles);
      const CodebookMatch match = codebook_lookup(rows, codes, options);
      EXPECT_TRUE(same_bits(match.ids, wanted.ids))
          << match.ids.ne(wanted.ids).sum().item<int64_t>();
      EXPECT_TRUE(same_bits(match.score, wanted.score));
    }
  });
}

void expect_bits_of_float32(const at::Tensor& rows, const at::Tensor& codes) {
  LookupOptions options;
  for (const CodeMetric metric : {CodeMetric::kCosine, CodeMetric::kL2}) {
    SCOPED_TRACE(metric == CodeMetric::kL2 ? "L2" : "cosine");
    options.metric = metric;
    expect_bits_of_float32(rows, codes, options);
  }
}

/// Rows that the tiles leave to float32.
int64_t num_left(const BfloatTiles& tiles, const at::Tensor& rows, const at::Tensor& codes) {
  const cpu::CodesInPlay in_play{codes.const_data_ptr<float>(), codes.size(1), false, nullptr,
                                 codes.size(0)};
  std::vector<int64_t> ids(static_cast<size_t>(rows.size(0)), 0);
  std::vector<float> score(ids.size(), cpu::kMinusInfinity);
  return cpu::find_by_bfloat(tiles, rows.const_data_ptr<float>(), rows.size(0), in_play,
                             {1, ids.data(), score.data()});
}

at::Tensor unit(const at::Tensor& x) { return x / x.norm(2, 1, true); }

TEST(CodebookBfloat, BitsOfFloat32OverShapes) {
  // Nothing divides anything.
  constexpr int64_t kShapes[][3] = {{1, 1, 1},     {1, 50, 2},   {3, 31, 5},     {7, 47, 3},
                                    {8, 48, 8},    {33, 97, 33}, {65, 1021, 32}, {300, 513, 31},
                                    {9, 300, 256}, {5, 97, 1024}};
  for (const auto& [num_rows, num_codes, width] : kShapes) {
    SCOPED_TRACE(testing::Message() << num_rows << "x" << num_codes << "x" << width);
    expect_bits_of_float32(random_tensor(1, {num_rows, width}),
                           random_tensor(2, {num_codes, width}));
  }
}

TEST(CodebookBfloat, WinnersOfTwoChunksOfCodes) {
  // 2,100 codes of width 1024 are two chunks; row 0 is the code of the first, row 1 of the second.
  const at::Tensor codes = random_tensor(30, {2100, 1024});
  at::Tensor rows = random_tensor(31, {5, 1024});
  rows[0].copy_(codes[17]);
  rows[1].copy_(codes[2090]);
  const OnlyLookupPath float32(LookupPath::kPanels);
  const CodebookMatch wanted = codebook_lookup(rows, codes, CodeMetric::kL2);
  EXPECT_EQ(wanted.ids[0].item<int64_t>(), 17);
  EXPECT_EQ(wanted.ids[1].item<int64_t>(), 2090);
  for (const BfloatTiles* const tiles : all_tiles()) {
    const OnlyLookupPath only(LookupPath::kBfloat, tiles);
    const CodebookMatch match = codebook_lookup(rows, codes, CodeMetric::kL2);
    EXPECT_TRUE(same_bits(match.ids, wanted.ids)) << tiles->name;
    EXPECT_TRUE(same_bits(match.score, wanted.score)) << tiles->name;
  }
}

TEST(CodebookBfloat, FewRowsAreLeftWhereCodesAreApart) {
  const at::Tensor rows = unit(random_tensor(3, {100, 32}));
  const at::Tensor codes = unit(random_tensor(4, {2048, 32}));
  for (const BfloatTiles* const tiles : all_tiles()) {
    EXPECT_EQ(num_left(*tiles, rows, codes), 0) << tiles->name;
  }
}

TEST(CodebookBfloat, AllRowsAreLeftWhereCodesAreEqual) {
  const at::Tensor rows = random_tensor(5, {70, 20});
  const at::Tensor codes = at::full({2000, 20}, 0.3);
  for (const BfloatTiles* const tiles : all_tiles()) {
    EXPECT_EQ(num_left(*tiles, rows, codes), 70) << tiles->name;
  }
  expect_bits_of_float32(rows, codes);
}

TEST(CodebookBfloat, SomeRowsAreLeftWhereSomeCodesAreEqual) {
  // A quarter of the rows points to 300 equal codes of 3,000.
  const at::Tensor rows = random_tensor(32, {400, 16});
  at::Tensor codes = random_tensor(33, {3000, 16});
  codes.slice(0, 0, 3000, 10).copy_(at::full({16}, 1.0));
  rows.slice(0, 0, 100).fill_(3.0);
  for (const BfloatTiles* const tiles : all_tiles()) {
    const int64_t left = num_left(*tiles, rows, codes);
    EXPECT_GE(left, 100) << tiles->name;
    EXPECT_LT(left, 200) << tiles->name;
  }
  expect_bits_of_float32(rows, codes);
}

TEST(CodebookBfloat, BitsOfFloat32WhereCodesAreClose) {
  const at::Tensor rows = random_tensor(6, {60, 32});
  for (const double distance : {1e-1, 1e-2, 1e-3, 1e-5, 1e-7}) {
    SCOPED_TRACE(distance);
    expect_bits_of_float32(rows, random_tensor(7, {1000, 32}).mul_(distance).add_(1));
  }
}

TEST(CodebookBfloat, TheFirstOfEqualCodesWins) {
  const at::Tensor some = random_tensor(8, {300, 24});
  const at::Tensor rows = at::cat({some, random_tensor(9, {30, 24})});
  expect_bits_of_float32(rows, at::cat({some, some, some.flip(0), some}));
}

TEST(CodebookBfloat, RoundingUpCannotHideTheBest) {
  // Sums with (1, 1): code 90 has 1 + 1.49 x 2^-7, which rounds to 1 + 2^-7; code 40 has 1.48 and loses next to nothing.
  at::Tensor codes = at::full({100, 2}, -1.0);
  codes[40][0] = 1.0;
  codes[40][1] = 1.48 * 0x1p-7;
  codes[90][0] = 1.0 + 1.49 * 0x1p-7;
  codes[90][1] = 0.0;
  expect_bits_of_float32(at::full({40, 2}, 1.0), codes);
}

TEST(CodebookBfloat, BitsOfFloat32AtEveryScale) {
  const at::Tensor rows = random_tensor(10, {60, 16}), codes = random_tensor(11, {700, 16});
  for (const double row_scale : {1e-44, 1e-38, 1e-20, 1.0, 1e15, 1e30, 1e38}) {
    for (const double code_scale : {1e-44, 1e-38, 1e-18, 1.0, 1e18, 1e38}) {
      SCOPED_TRACE(testing::Message() << row_scale << " x " << code_scale);
      LookupOptions options;
      const at::Tensor x = rows * row_scale, c = codes * code_scale;
      // Beyond float32's range the order of the sums decides what comes out.
      if (row_scale * code_scale > 1e36) continue;
      expect_bits_of_float32(x, c, options);
      if (code_scale > 1e15 || row_scale > 1e15) continue;
      options.metric = CodeMetric::kL2;
      expect_bits_of_float32(x, c, options);
    }
  }
}

TEST(CodebookBfloat, BitsOfFloat32WhereScalesMix) {
  // Rows, codes and their values over many decades.
  const auto mixed = [](uint64_t seed, int64_t count, int64_t width) {
    const at::Tensor scale = random_tensor(seed + 1, {count, 1}).mul_(7).exp();
    const at::Tensor spread = random_tensor(seed + 2, {count, width}).mul_(5).exp();
    return (random_tensor(seed, {count, width}) * scale * spread).contiguous();
  };
  expect_bits_of_float32(mixed(12, 130, 24), mixed(15, 900, 24));
}

TEST(CodebookBfloat, RowsAndCodesThatAreNotFinite) {
  at::Tensor rows = random_tensor(18, {90, 12}), codes = random_tensor(19, {600, 12});
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(),
                       std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity()};
  for (int64_t i = 0; i < 3; ++i) {
    rows[7 * i + 3][i] = bad[i];
    codes[100 * i + 50][2 * i] = bad[i];
  }
  expect_bits_of_float32(rows, codes);
  expect_bits_of_float32(rows, at::full({80, 12}, bad[0]));
}

TEST(CodebookBfloat, HiddenCodes) {
  const at::Tensor rows = random_tensor(20, {90, 16}), codes = random_tensor(21, {3000, 16});
  LookupOptions options;
  options.allowed = random_tensor(22, {3000}).gt(1.0);
  expect_bits_of_float32(rows, codes, options);
}

TEST(CodebookBfloat, NumberOfThreadsChangesNothing) {
  const at::Tensor rows = random_tensor(23, {600, 16}), codes = random_tensor(24, {500, 16});
  const int threads = at::get_num_threads();
  for (const int count : {1, 3}) {
    at::set_num_threads(count);
    expect_bits_of_float32(rows, codes);
  }
  at::set_num_threads(threads);
}

/// Sums by the tiles against float64, within what rounding can do: width + 4 float32 roundings of the sum of sizes.
TEST(CodebookBfloat, TilesMultiply) {
  for (const BfloatTiles* const tiles : all_tiles()) {
    SCOPED_TRACE(tiles->name);
    const int64_t width = 3 * tiles->width_multiple, codes = tiles->panel_codes;
    const auto bfloat = [](const at::Tensor& x) { return x.to(at::kBFloat16); };
    const at::Tensor x = bfloat(random_tensor(25, {tiles->tile_rows, width}));
    const at::Tensor c = bfloat(random_tensor(26, {codes, width}));
    const at::Tensor bias = random_tensor(27, {codes});
    // (width / 2, codes, 2) behind the biases; a panel is aligned to 64 bytes, as ATen's memory is.
    const at::Tensor pairs = c.view({codes, width / 2, 2}).transpose(0, 1).contiguous();
    const at::Tensor panel = at::empty({codes * (1 + width / 2)});
    std::memcpy(panel.mutable_data_ptr(), bias.const_data_ptr(),
                static_cast<size_t>(bias.nbytes()));
    std::memcpy(panel.mutable_data_ptr<float>() + codes, pairs.const_data_ptr(),
                static_cast<size_t>(pairs.nbytes()));
    const at::Tensor x64 = x.to(at::kDouble), c64 = c.to(at::kDouble);
    const at::Tensor wanted = x64.matmul(c64.t()) + bias.to(at::kDouble);
    const at::Tensor size = x64.abs().matmul(c64.abs().t()) + bias.abs().to(at::kDouble);
    std::vector<float> threshold(static_cast<size_t>(tiles->tile_rows), -1e30F);
    threshold[2] = std::numeric_limits<float>::infinity();
    threshold[5] = static_cast<float>(wanted[5].max().item<double>()) - 1e-3F;
    const at::Tensor scores = at::full({tiles->tile_rows, codes}, NAN);
    tiles->begin();
    const uint32_t found = tiles->multiply(static_cast<const uint16_t*>(x.const_data_ptr()), width,
                                           panel.const_data_ptr<float>(), threshold.data(),
                                           scores.mutable_data_ptr<float>());
    tiles->end();
    const uint32_t all = tiles->tile_rows == 32 ? ~0U : (1U << tiles->tile_rows) - 1;
    EXPECT_EQ(found, all & ~(1U << 2));
    const at::Tensor off = (scores.to(at::kDouble) - wanted).abs();
    EXPECT_TRUE(off.le(size * (static_cast<double>(width + 4) * 0x1p-24)).all().item<bool>());
  }
}

TEST(CodebookBfloat, TheMachineSaysWhichTilesItHas) {
  EXPECT_EQ(cpu::amx_tiles() != nullptr, cpu::has_amx_bf16());
  EXPECT_EQ(cpu::bfloat_dot_tiles() != nullptr, cpu::has_bf16_dot());
  const std::string path = cpu::codebook_lookup_path();
  if (cpu::bfloat_tiles() == nullptr) {
    EXPECT_EQ(path.rfind("float32", 0), 0U) << path;
  } else {
    EXPECT_EQ(path.rfind(cpu::bfloat_tiles()->name, 0), 0U) << path;
  }
}

}  // namespace
}  // namespace lexel::kernels
