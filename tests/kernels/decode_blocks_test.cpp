#include "kernels/decode_blocks.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/kernel_paths.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::random_tensor;

/// Two blocks over caches of `capacity` keys; the second with a conv mask where the picture is 6 wide.
struct Stack {
  std::vector<DecodeBlock> blocks;
  std::vector<KvCache> self, cross;
  DecodeRows rows;
  at::Tensor x;
};

struct Shape {
  int64_t steps, batch, heads, head, hidden, capacity, text;  // text 0: no cross-attention
  WeightFormat format;
  at::ScalarType cache;
};

constexpr Shape kShapes[] = {
    {1, 1, 1, 8, 24, 12, 5, WeightFormat::kFloat32, at::kFloat},
    {1, 2, 4, 64, 512, 300, 9, WeightFormat::kInt8, at::kBFloat16},
    {5, 3, 2, 16, 33, 40, 7, WeightFormat::kBFloat16, at::kChar},
    {16, 1, 3, 24, 100, 600, 0, WeightFormat::kInt8, at::kFloat},
    {1, 16, 2, 128, 64, 8, 3, WeightFormat::kFloat32, at::kChar},
};

DecodeLinear random_linear(uint64_t seed, int64_t outputs, int64_t inputs, WeightFormat format) {
  return {
      pack_weights(
          random_tensor(seed, {outputs, inputs}).mul(0.5 / std::sqrt(static_cast<double>(inputs))),
          format),
      random_tensor(seed + 1, {outputs}).mul(0.1)};
}

DecodeNorm random_norm(uint64_t seed, int64_t width) {
  return {random_tensor(seed, {width}).mul(0.1).add(1.0),
          random_tensor(seed + 1, {width}).mul(0.1)};
}

void fill(KvCache& cache, uint64_t seed) {
  const int64_t batch = cache.keys.size(0), heads = cache.keys.size(1), width = cache.keys.size(3);
  for (int64_t t = 0; t < cache.keys.size(2); ++t) {
    const at::Tensor kv = random_tensor(seed + static_cast<uint64_t>(t), {2, batch, heads, width});
    append_(cache, kv[0], kv[1], at::full({batch}, t, at::kLong));
  }
}

Stack make_stack(const Shape& shape) {
  Stack stack;
  const int64_t width = shape.heads * shape.head;
  for (uint64_t i = 0; i < 2; ++i) {
    DecodeBlock& block = stack.blocks.emplace_back();
    const uint64_t seed = 100 * i;
    block.self_norm = random_norm(seed, width);
    block.qkv = random_linear(seed + 10, 3 * width, width, shape.format);
    if (i == 0 || shape.text > 0) block.out = random_linear(seed + 20, width, width, shape.format);
    if (shape.text > 0) {
      block.cross_norm = random_norm(seed + 30, width);
      block.cross_q = random_linear(seed + 40, width, width, shape.format);
      block.cross_out = random_linear(seed + 50, width, width, shape.format);
      stack.cross.push_back(
          make_kv_cache(shape.batch, shape.heads, shape.text, shape.head, shape.cache, at::kCPU));
      fill(stack.cross.back(), seed + 1000);
    }
    block.feed_forward_norm = random_norm(seed + 60, width);
    block.up = random_linear(seed + 70, shape.hidden, width, shape.format);
    block.down = random_linear(seed + 80, width, shape.hidden, shape.format);
    block.activation = i == 0 ? Activation::kGelu : Activation::kRelu;
    if (i == 1) block.mask = AttentionMask::conv(6, 3);
    stack.self.push_back(
        make_kv_cache(shape.batch, shape.heads, shape.capacity, shape.head, shape.cache, at::kCPU));
    fill(stack.self.back(), seed + 2000);
  }
  const at::Tensor first =  // each row at a place of its own, the last one at the end
      at::arange(shape.batch, at::kLong).mul(-1).add(shape.capacity - shape.steps).clamp_min(0);
  stack.rows.positions =
      first.unsqueeze(0).add(at::arange(shape.steps, at::kLong).unsqueeze(1)).contiguous();
  if (shape.text > 0) {
    stack.rows.text_lengths = at::arange(shape.batch, at::kLong).remainder(shape.text).add(1);
  }
  stack.x = random_tensor(5, {shape.steps, shape.batch, width});
  return stack;
}

/// The same with caches of its own, which a call may write.
Stack copy_of(const Stack& stack) {
  Stack copy = stack;
  for (KvCache& cache : copy.self) {
    for (at::Tensor* const tensor :
         {&cache.keys, &cache.values, &cache.key_scales, &cache.value_scales}) {
      if (tensor->defined()) *tensor = tensor->clone();
    }
  }
  return copy;
}

std::string name_of(const Shape& shape) {
  return concat(shape.steps, " steps of ", shape.batch, ", ", shape.heads, " heads of ",
                shape.head);
}

TEST(DecodeBlocks, NearTheReference) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(name_of(shape));
    Stack stack = make_stack(shape), same = copy_of(stack);
    const at::Tensor wanted =
        decode_blocks_reference(same.x, same.blocks, same.self, same.cross, same.rows);
    tests::on_every_target([&] {
      const at::Tensor got =
          decode_blocks(stack.x, stack.blocks, stack.self, stack.cross, stack.rows);
      // Where a key lies between two numbers of a rounded cache, it may fall to either: one unit of it.
      const double unit = shape.cache == at::kFloat ? 0.0 : shape.cache == at::kChar ? 2e-3 : 1e-3;
      EXPECT_LT(tests::relative_difference(got, wanted), 2e-6 + unit);
      EXPECT_FALSE(at::equal(got, stack.x));
    });
  }
}

TEST(DecodeBlocks, GivesTheBitsOfItsPartsWithAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(name_of(shape));
    const Stack fresh = make_stack(shape);
    tests::on_every_target([&] {
      Stack parts = copy_of(fresh);
      const at::Tensor wanted =
          decode_blocks_by_parts(parts.x, parts.blocks, parts.self, parts.cross, parts.rows);
      for (const int count : {1, 2, 5}) {
        at::set_num_threads(count);
        Stack stack = copy_of(fresh);
        const at::Tensor before = stack.x.clone();
        const at::Tensor got =
            decode_blocks(stack.x, stack.blocks, stack.self, stack.cross, stack.rows);
        EXPECT_TRUE(at::equal(got, wanted)) << count << " threads";
        EXPECT_TRUE(at::equal(stack.x, before));
        for (size_t i = 0; i < 2; ++i) {
          EXPECT_TRUE(at::equal(stack.self[i].keys, parts.self[i].keys));
          EXPECT_TRUE(at::equal(stack.self[i].values, parts.self[i].values));
        }
      }
      at::set_num_threads(threads);
    });
  }
}

TEST(DecodeBlocks, StepsTogetherGiveTheBitsOfStepsAlone) {
  const Shape shape = kShapes[2];
  Stack together = make_stack(shape), alone = copy_of(together);
  const at::Tensor wanted =
      decode_blocks(together.x, together.blocks, together.self, together.cross, together.rows);
  for (int64_t step = 0; step < shape.steps; ++step) {
    const at::Tensor got =
        decode_blocks(alone.x.slice(0, step, step + 1), alone.blocks, alone.self, alone.cross,
                      {alone.rows.positions.slice(0, step, step + 1), alone.rows.text_lengths});
    EXPECT_TRUE(at::equal(got[0], wanted[step])) << "step " << step;
  }
}

TEST(DecodeBlocks, ABlockWithoutAFeedForwardLayerAddsNone) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(name_of(shape));
    Stack stack = make_stack(shape);
    Stack zero = copy_of(stack);  // one that adds zeros in its place
    for (DecodeBlock& block : zero.blocks) {
      const int64_t width = stack.x.size(2), hidden = block.up.weight.outputs;
      block.down = {pack_weights(at::zeros({width, hidden}), shape.format), at::zeros({width})};
    }
    for (DecodeBlock& block : stack.blocks) block.up = block.down = {};
    Stack parts = copy_of(stack);
    const at::Tensor wanted = decode_blocks(zero.x, zero.blocks, zero.self, zero.cross, zero.rows);
    const at::Tensor got =
        decode_blocks(stack.x, stack.blocks, stack.self, stack.cross, stack.rows);
    EXPECT_TRUE(at::equal(got, wanted));
    EXPECT_TRUE(at::equal(
        decode_blocks_by_parts(parts.x, parts.blocks, parts.self, parts.cross, parts.rows),
        wanted));
  }
}

TEST(DecodeBlocks, NoRowsAreNoWork) {
  Stack stack = make_stack(kShapes[0]);
  const at::Tensor got =
      decode_blocks(stack.x.slice(0, 0, 0), stack.blocks, stack.self, stack.cross,
                    {stack.rows.positions.slice(0, 0, 0), stack.rows.text_lengths});
  EXPECT_EQ(got.sizes(), (std::vector<int64_t>{0, 1, 8}));
}

TEST(DecodeBlocks, RejectsWhatCannotBe) {
  const auto expect_bad = [](const std::string& message, auto&& change) {
    Stack stack = make_stack(kShapes[0]);
    change(stack);
    expect_error(ErrorKind::kUsage, message, [&] {
      decode_blocks(stack.x, stack.blocks, stack.self, stack.cross, stack.rows);
    });
  };
  expect_bad("Double", [](Stack& s) { s.x = s.x.to(at::kDouble); });
  expect_bad("at most 16 rows", [](Stack& s) { s.x = random_tensor(1, {17, 1, 8}); });
  expect_bad("positions (1, 1)", [](Stack& s) { s.rows.positions = s.rows.positions[0]; });
  expect_bad("positions in 0..11, got 12", [](Stack& s) { s.rows.positions.fill_(12); });
  expect_bad("text lengths in 0..5, got 6", [](Stack& s) { s.rows.text_lengths.fill_(6); });
  expect_bad("text lengths of 1 rows", [](Stack& s) { s.rows.text_lengths.reset(); });
  expect_bad("cache for each of 2 blocks", [](Stack& s) { s.self.pop_back(); });
  expect_bad("cross-attention cache", [](Stack& s) { s.cross.pop_back(); });
  expect_bad("gated", [](Stack& s) { s.blocks[1].activation = Activation::kGatedGelu; });
  expect_bad("up (24, 8), got (24, 16)",
             [](Stack& s) { s.blocks[0].up = random_linear(1, 24, 16, WeightFormat::kInt8); });
  expect_bad("norm weight", [](Stack& s) { s.blocks[0].self_norm.weight.reset(); });
  expect_bad("bias of size", [](Stack& s) { s.blocks[0].qkv.bias = s.blocks[0].out.bias; });
  expect_bad("heads fill width",
             [](Stack& s) { s.self[1] = make_kv_cache(1, 2, 12, 8, at::kFloat, at::kCPU); });
}

}  // namespace
}  // namespace lexel::kernels
