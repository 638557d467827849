#include "apps/train/tokenizer/sharded_stacks.h"

#include <gtest/gtest.h>
#include <map>
#include <string>

#include "kernels/philox.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/ranks.h"
#include "tests/vqgan/tiny_model.h"
#include "vqgan/train_step.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::on_mesh;
using tests::relative_difference;

constexpr int64_t kBatch = 3;

/// Two blocks in the encoder, one wider one in the decoder, four heads each; stem, refine stage and linear path.
vqgan::Config config_of_four_heads() {
  vqgan::Config config = tests::tiny_config_with_options();
  config.encoder.depth = 2;
  config.encoder.heads = config.decoder.heads = 4;
  config.encoder.head_width = 4;
  config.decoder.head_width = 8;
  config.decoder.width = 24;
  return config;
}

/// A model of which nothing is zero, in `type`.
vqgan::Model made(const vqgan::Config& config, at::ScalarType type) {
  vqgan::Model model = vqgan::make_model(config, 3, at::kCPU);
  for (const Parameter& p : vqgan::parameters(model)) {
    if (p.init.kind == Init::Kind::kZeros)
      *p.tensor = tests::random_tensor(fnv1a(p.name), p.shape) * 0.1;
    *p.tensor = p.tensor->to(type);
  }
  return model;
}

struct Case {
  const char* name;
  at::ScalarType compute, weights;
  int64_t bytes;  // of a value of `compute`
  double tolerance;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

/// Loss of a training pass and gradients of all weights, as a model.
std::pair<at::Tensor, vqgan::Model> pass(vqgan::Model& model, const Case& c,
                                         const vqgan::BlockRunner* runner) {
  require_gradients(vqgan::parameters(model), true);
  vqgan::TrainSetup setup{{.relative_floor = 0.01, .l1 = 1.0}, c.compute};
  setup.runner = runner;
  const at::Tensor images = tests::random_uniform(9, {kBatch, 3, 16, 16}).to(c.weights);
  const auto step = vqgan::generator_step(model, setup, images, 0);
  step.total.backward();
  vqgan::Model gradients = model;
  for (const Parameter& p : vqgan::parameters(gradients)) {
    EXPECT_TRUE(p.tensor->grad().defined()) << p.name;
    *p.tensor = p.tensor->grad();
  }
  return {step.total.detach(), gradients};
}

class ShardedStacksTest : public testing::TestWithParam<Case> {};

TEST_P(ShardedStacksTest, LossGradientsAndBytesAreThoseOfOneRankAndTheFormula) {
  const Case& c = GetParam();
  const vqgan::Config config = config_of_four_heads();
  vqgan::Model alone = made(config, c.weights);
  auto [wanted_loss, wanted] = pass(alone, c, nullptr);
  const auto wanted_gradients = named_tensors(vqgan::parameters(wanted));
  for (const int64_t ranks : {2, 4}) {
    on_mesh(concat("tensor=", ranks), [&](parallel::Mesh& mesh) {
      ShardedStacks stacks(config, mesh);
      vqgan::Model model = made(config, c.weights);
      stacks.keep_part(model);
      EXPECT_EQ(model.encoder.stack.blocks[1].qkv.weight.size(0), 3 * 16 / ranks);
      EXPECT_EQ(model.decoder.stack.blocks[0].down.weight.size(1), 32 / ranks);
      parallel::Group& group = mesh.along("tensor");
      group.forget_traffic();
      auto [loss, gradients] = pass(model, c, &stacks);

      // 4 (n - 1) / n B N D e of each sublayer: two in each block of width D.
      const auto& sent = group.traffic().by_collective;
      ASSERT_EQ(sent.size(), 1u);
      const int64_t widths = 2 * config.encoder.width + config.decoder.width;
      EXPECT_EQ(sent.at("all_reduce").calls, 2 * 2 * 3);
      EXPECT_EQ(sent.at("all_reduce").bytes,
                4 * (ranks - 1) * kBatch * 16 * 2 * widths * c.bytes / ranks);

      EXPECT_LT(relative_difference(loss, wanted_loss), c.tolerance);
      for (const Parameter& p : vqgan::parameters(gradients)) {
        if (stacks.is_split(p.name)) continue;
        const at::Tensor all = group.all_gather(p.tensor->unsqueeze(0), 0);
        for (int64_t r = 1; r < ranks; ++r)
          EXPECT_TRUE(all[r].equal(all[0])) << p.name << " differs on rank " << r;
      }
      vqgan::Model whole = stacks.whole(gradients);
      for (const Parameter& p : vqgan::parameters(whole))
        EXPECT_LT(relative_difference(*p.tensor, wanted_gradients.at(p.name)), c.tolerance)
            << p.name;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Types, ShardedStacksTest,
                         testing::Values(Case{"Float64", at::kDouble, at::kDouble, 8, 1e-10},
                                         Case{"Float32", at::kFloat, at::kFloat, 4, 1e-4},
                                         Case{"Bfloat16", at::kBFloat16, at::kFloat, 2, 0.1}),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(ShardedStacks, APartIsTheSameHeadsOfEachMatrixAndAllPartsAreTheWhole) {
  const vqgan::Config config = config_of_four_heads();
  vqgan::Model alone = made(config, at::kFloat);
  on_mesh("data=2,tensor=2", [&](parallel::Mesh& mesh) {
    ShardedStacks stacks(config, mesh);
    vqgan::Model model = made(config, at::kFloat);
    stacks.keep_part(model);
    const at::Tensor& part = model.encoder.stack.blocks[0].qkv.weight;  // (3 * 8, 16)
    const at::Tensor& qkv = alone.encoder.stack.blocks[0].qkv.weight;   // (3 * 16, 16)
    const int64_t rank = mesh.coordinate("tensor");
    EXPECT_TRUE(part.narrow(0, 16, 8).equal(qkv.narrow(0, 32 + 8 * rank, 8)));
    const PlaceOfTensor& place = stacks.place_of("encoder.blocks.0.qkv.weight");
    EXPECT_EQ(place.shape, (std::vector<int64_t>{48, 16}));
    EXPECT_EQ(place.part.ranges, (std::vector<std::pair<int64_t, int64_t>>{
                                     {8 * rank, 8}, {16 + 8 * rank, 8}, {32 + 8 * rank, 8}}));
    EXPECT_TRUE(place.counts);
    EXPECT_EQ(stacks.place_of("encoder.blocks.0.out.bias").counts, rank == 0);
    vqgan::Model whole = stacks.whole(model);
    const auto wanted = named_tensors(vqgan::parameters(alone));
    for (const Parameter& p : vqgan::parameters(whole))
      EXPECT_TRUE(p.tensor->equal(wanted.at(p.name))) << p.name;
  });
}

TEST(ShardedStacks, MeshesThatCannotBeAreRefused) {
  vqgan::Config config = config_of_four_heads();
  const auto check_mesh = [&](const char* mesh) {
    check_tokenizer_mesh(parallel::parse_mesh(mesh), config);
  };
  check_mesh("data=3,pipeline=1,tensor=4");
  expect_error(ErrorKind::kUnsupported,
               "mesh data=2,expert=2: axis expert: a tokenizer has no experts",
               [&] { check_mesh("data=2,expert=2"); });
  expect_error(ErrorKind::kUnsupported, "axis pipeline: a tokenizer's two stacks fit one device",
               [&] { check_mesh("pipeline=2"); });
  config.decoder.hidden = 33;
  expect_error(ErrorKind::kUsage, "axis tensor: model.decoder.hidden 33: expected multiples of 2",
               [&] { check_mesh("tensor=2"); });
  expect_error(ErrorKind::kUsage,
               "axis tensor: model.encoder.heads 4, model.encoder.hidden 32, model.decoder.heads "
               "4: expected multiples of 3",
               [&] { check_mesh("tensor=3"); });
}

}  // namespace
}  // namespace lexel::train
