#include "vqgan/model.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_unique.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <set>

#include "kernels/philox.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/vqgan/tiny_model.h"

namespace lexel::vqgan {
namespace {

using tests::expect_error;
using tests::random_uniform;
using tests::tiny_config;
using tests::tiny_config_with_options;

struct Case {
  std::string name;
  Config config;
};

std::string case_name(const testing::TestParamInfo<Case>& info) { return info.param.name; }

std::vector<Case> cases() {
  Config laplace = tiny_config();
  laplace.output = "logit_laplace";
  Config plain =
      tiny_config();  // no head, no bias, tanh, sincos, L2: as enhancing-transformers but for L2
  plain.encoder.tanh_head = plain.decoder.tanh_head = false;
  plain.encoder.qkv_bias = plain.decoder.qkv_bias = false;
  plain.encoder.activation = plain.decoder.activation = "tanh";
  plain.positions = "sincos";
  plain.normalize_codes = false;
  plain.pixel_center = 0.0;
  Config laplace_refined = laplace;
  laplace_refined.refine_width = 6;
  laplace_refined.refine_depth = 1;
  Config odd = tiny_config();
  odd.image_size = 21;
  odd.patch_size = 7;
  Config mixed = tiny_config();
  mixed.decoder.width = 24;
  mixed.decoder.heads = 3;
  mixed.decoder.head_width = 4;  // inner width 12, as the Large decoder's 1024 of 1280
  mixed.decoder.depth = 2;
  return {{"Rgb", tiny_config()},
          {"LogitLaplace", laplace},
          {"Plain", plain},
          {"AllOptions", tiny_config_with_options()},
          {"LogitLaplaceRefined", laplace_refined},
          {"PatchOf7", odd},
          {"WiderDecoder", mixed}};
}

class ModelTest : public testing::TestWithParam<Case> {
 protected:
  // Products this small gain nothing from more threads, and lose much on a busy machine.
  ModelTest() { at::set_num_threads(1); }
  const Config& config() const { return GetParam().config; }
  at::Tensor images(int64_t batch) const {
    return random_uniform(9, {batch, 3, config().image_size, config().image_size});
  }
};

TEST_P(ModelTest, ShapesAreThoseOfTheHeader) {
  const Model model = make_model(config(), 1, at::kCPU);
  const int64_t grid = config().image_size / config().patch_size, size = config().image_size;
  const Forward f = forward(model, images(2), at::kFloat);
  const std::vector<int64_t> codes{2, grid * grid, 8}, ids{2, grid * grid},
      output{2, config().output == "rgb" ? 3 : 6, size, size}, pictures{2, 3, size, size};
  EXPECT_EQ(f.latents.sizes(), codes);
  EXPECT_EQ(f.codes.sizes(), codes);
  EXPECT_EQ(f.ids.sizes(), ids);
  EXPECT_EQ(f.output.sizes(), output);
  EXPECT_EQ(f.pictures.sizes(), pictures);
  for (const auto& tensor : {f.latents, f.codes, f.output, f.pictures}) {
    EXPECT_EQ(tensor.scalar_type(), at::kFloat);
  }
}

TEST_P(ModelTest, GradientReachesEveryTrainedParameter) {
  for (const auto compute : {at::kFloat, at::kBFloat16}) {
    Model model = make_model(config(), 1, at::kCPU);
    const ParameterList list = parameters(model);
    {  // What starts at zero hides what lies before it.
      const at::NoGradGuard no_grad;
      for (const Parameter& p : list) {
        if (p.init.kind == Init::Kind::kZeros) {
          p.tensor->copy_(tests::random_tensor(fnv1a(p.name), p.shape) * 0.1);
        }
      }
    }
    require_gradients(list, true);
    const Forward f = forward(model, images(2), compute);
    ((f.output * tests::random_tensor(5, f.output.sizes().vec())).sum() +
     (f.codes * tests::random_tensor(6, f.codes.sizes().vec())).sum())
        .backward();
    for (const Parameter& p : list) {
      if (!p.trained) {
        EXPECT_FALSE(p.tensor->requires_grad()) << p.name;
        continue;
      }
      ASSERT_TRUE(p.tensor->grad().defined()) << p.name;
      EXPECT_GT(p.tensor->grad().abs().max().item<double>(), 0.0) << p.name;
      EXPECT_TRUE(p.tensor->grad().isfinite().all().item<bool>()) << p.name;
    }
  }
}

TEST_P(ModelTest, TensorsOfOneModelMakeAnotherGiveTheSame) {
  Model model = make_model(config(), 1, at::kCPU), other = make_model(config(), 2, at::kCPU);
  const auto pictures = images(2);
  const auto reconstruct = [&](const Model& m) {
    return forward(m, pictures, at::kFloat).pictures;
  };
  EXPECT_FALSE(at::equal(reconstruct(model), reconstruct(other)));
  assign(parameters(other), named_tensors(parameters(model)));
  EXPECT_TRUE(at::equal(reconstruct(model), reconstruct(other)));
}

TEST_P(ModelTest, APictureOfABatchEqualsThatPictureAlone) {
  at::set_num_threads(2);
  const Model model = make_model(config(), 1, at::kCPU);
  const auto pictures = images(7);
  const int64_t grid = config().image_size / config().patch_size;
  const auto ids = encode(model, pictures);
  const auto decoded = decode(model, ids, grid, grid);
  EXPECT_GT(std::get<0>(at::_unique(ids)).numel(), 1);
  for (const int64_t batch : {1, 2}) {
    for (int64_t k = 0; k + batch <= 7; k += batch) {
      const auto some = encode(model, pictures.narrow(0, k, batch));
      EXPECT_TRUE(at::equal(some, ids.narrow(0, k, batch))) << k;
      EXPECT_TRUE(at::equal(decode(model, some, grid, grid), decoded.narrow(0, k, batch))) << k;
    }
  }
}

TEST_P(ModelTest, OtherGridsAreEncodedAndDecoded) {
  const Model model = make_model(config(), 1, at::kCPU);
  const int64_t patch = config().patch_size;
  const auto pictures = random_uniform(4, {2, 3, 3 * patch, 6 * patch});
  const auto ids = encode(model, pictures);
  EXPECT_EQ(ids.sizes(), (std::vector<int64_t>{2, 18}));
  const auto decoded = decode(model, ids, 3, 6);
  EXPECT_EQ(decoded.sizes(), pictures.sizes());
  EXPECT_GE(decoded.min().item<float>(), 0.0F);
  EXPECT_LE(decoded.max().item<float>(), 1.0F);
}

INSTANTIATE_TEST_SUITE_P(Configs, ModelTest, testing::ValuesIn(cases()), case_name);

/// The formula of vqgan/model.h.
int64_t expected_count(const Config& c) {
  const auto stack = [](const StackConfig& s, int64_t outputs) {
    const int64_t w = s.width, inner = s.heads * s.head_width, f = s.hidden;
    const int64_t block =
        4 * w + 3 * inner * w + (s.qkv_bias ? 3 * inner : 0) + inner * w + w + 2 * w * f + f + w;
    return s.depth * block + 2 * w + (s.tanh_head ? w * w + w : 0) + outputs * w + outputs;
  };
  const int64_t pixels = 3 * c.patch_size * c.patch_size;
  const int64_t tokens = (c.image_size / c.patch_size) * (c.image_size / c.patch_size);
  const int64_t maps = c.output == "rgb" ? 3 : 6;
  const int64_t z = c.code_width, s2 = c.conv_stride * c.conv_stride;
  const auto residual = [](int64_t width, int64_t depth) {
    return depth * 2 * (9 * width * width + width);
  };
  int64_t inputs = pixels, outputs = pixels / 3 * maps, count = 0;
  if (c.linear_path) count += (z - 1) * (pixels + 1) + z * pixels;
  if (c.stem_width > 0) {
    count += 27 * s2 * c.stem_width + c.stem_width + residual(c.stem_width, c.stem_depth);
    inputs = c.stem_width * pixels / 3 / s2;
  }
  if (c.refine_width > 0) {
    const int64_t w = c.refine_width;
    count += (c.linear_path ? 27 * s2 * w + w : 0) + residual(w, c.refine_depth) +
             (9 * w + 1) * maps * s2;
    outputs = w * pixels / 3 / s2;
  }
  count +=
      inputs * c.encoder.width + c.encoder.width + tokens * c.encoder.width + stack(c.encoder, z);
  count += c.codebook_size * z;
  count +=
      z * c.decoder.width + c.decoder.width + tokens * c.decoder.width + stack(c.decoder, outputs);
  return count;
}

TEST(ModelCountTest, EqualsTheFormulaForEveryPreset) {
  for (const std::string& name : preset_names()) {
    Model layout = model_layout(preset(name));
    EXPECT_EQ(parameter_count(parameters(layout)), expected_count(preset(name))) << name;
    EXPECT_FALSE(layout.quantizer.codebook.defined());
  }
  for (const Case& c : cases()) {
    Model layout = model_layout(c.config);
    EXPECT_EQ(parameter_count(parameters(layout)), expected_count(c.config)) << c.name;
  }
}

TEST(ModelCountTest, SmallOfEnhancingTransformersHas51956771) {
  Config config = vit_vqgan_ss();
  for (StackConfig* stack : {&config.encoder, &config.decoder}) {
    stack->tanh_head = false;
    stack->qkv_bias = false;
  }
  Model layout = model_layout(config);
  // Theirs has one output bias a colour, ours one a pixel of the patch.
  EXPECT_EQ(parameter_count(parameters(layout)) - (3 * 64 - 3), 51956771);
}

TEST(ModelNamesTest, AreUnique) {
  Model layout = model_layout(tiny_config_with_options());
  std::set<std::string> names;
  const ParameterList list = parameters(layout);
  for (const Parameter& p : list) names.insert(p.name);
  EXPECT_EQ(names.size(), list.size());
}

TEST(ModelThreadsTest, IdsAndPicturesDoNotDependOnTheNumberOfThreads) {
  Config config = tiny_config_with_options();
  config.encoder.width = config.decoder.width = 64;
  config.image_size = 64;
  const Model model = make_model(config, 1, at::kCPU);
  const auto pictures = random_uniform(3, {3, 3, 64, 64});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto ids = encode(model, pictures);
  const auto decoded = decode(model, ids, 16, 16);
  at::set_num_threads(2);
  EXPECT_TRUE(at::equal(encode(model, pictures), ids));
  EXPECT_TRUE(at::equal(decode(model, ids, 16, 16), decoded));
  at::set_num_threads(threads);
}

TEST(ModelQuantizedMaskTest, WithoutQuantizationTheDecoderSeesTheLatents) {
  const Model model = make_model(tiny_config(), 1, at::kCPU);
  const auto pictures = random_uniform(3, {2, 3, 16, 16});
  auto mask = at::zeros({2, 16}, at::kBool);
  mask[1].fill_(true);
  const Forward all = forward(model, pictures, at::kFloat);
  const Forward some = forward(model, pictures, at::kFloat, mask);
  const auto raw = decode_codes(model.decoder, model.config, all.latents, 4, 4, at::kFloat);
  EXPECT_TRUE(at::equal(some.output[0], raw[0]));
  EXPECT_TRUE(at::equal(some.output[1], all.output[1]));
  EXPECT_TRUE(at::equal(some.ids, all.ids));
}

TEST(DecoderFinetuningTest, ChangesPicturesAndNoId) {
  Model model = make_model(tiny_config_with_options(), 1, at::kCPU);
  const auto pictures = random_uniform(3, {4, 3, 16, 16});
  const auto ids = encode(model, pictures);
  const auto before = named_tensors(parameters(model));
  std::map<std::string, at::Tensor> copies;
  for (const auto& [name, tensor] : before) copies[name] = tensor.clone();
  const auto decoded = decode(model, ids, 4, 4);

  const ParameterList list = parameters_for_decoder_finetuning(model);
  require_gradients(list, true);
  tests::Adam adam(list);
  for (int step = 0; step < 3; ++step) {
    const Forward f = forward(model, pictures, at::kFloat);
    adam.step((f.pictures - pictures).square().mean() + (f.latents - f.codes).square().mean(),
              0.01);
  }
  for (const auto& [name, tensor] : named_tensors(parameters(model))) {
    if (name.starts_with("decoder.")) continue;
    EXPECT_TRUE(at::equal(tensor, copies[name])) << name;
  }
  EXPECT_TRUE(at::equal(encode(model, pictures), ids));
  EXPECT_FALSE(at::equal(decode(model, ids, 4, 4), decoded));
}

TEST(ModelErrorsTest, WrongArgumentsAreNamed) {
  const Model model = make_model(tiny_config(), 1, at::kCPU);
  const auto kind = ErrorKind::kUsage;
  expect_error(kind, "expected (B, 3, H, W) float32 images, got Float of shape [1, 1, 16, 16]",
               [&] {
                 encode(model, random_uniform(1, {1, 1, 16, 16}));
               });
  expect_error(kind, "vqgan::forward: expected (B, 3, H, W) float32 images, got Byte", [&] {
    forward(model, at::zeros({1, 3, 16, 16}, at::kByte), at::kFloat);
  });
  expect_error(kind, "expected sides that are multiples of 4, got 16 x 18", [&] {
    encode(model, random_uniform(1, {1, 3, 16, 18}));
  });
  expect_error(kind, "expected compute float32, bfloat16 or float64, got Half", [&] {
    forward(model, random_uniform(1, {1, 3, 16, 16}), at::kHalf);
  });
  expect_error(kind, "expected (B, 16) int64 ids, got Long of shape [1, 15]", [&] {
    decode(model, at::zeros({1, 15}, at::kLong), 4, 4);
  });
  expect_error(kind, "expected a grid of at least 1 x 1, got 0 x 4", [&] {
    decode(model, at::zeros({1, 0}, at::kLong), 0, 4);
  });
  expect_error(ErrorKind::kBadData, "expected ids in 0 to 31, got 32", [&] {
    decode(model, at::full({1, 16}, 32, at::kLong), 4, 4);
  });
  expect_error(ErrorKind::kBadData, "got -1", [&] {
    decode(model, at::full({1, 16}, -1, at::kLong), 4, 4);
  });
}

TEST(ModelErrorsTest, AnEmptyBatchGivesAnEmptyBatch) {
  const Model model = make_model(tiny_config(), 1, at::kCPU);
  EXPECT_EQ(encode(model, at::zeros({0, 3, 16, 16})).sizes(), (std::vector<int64_t>{0, 16}));
  EXPECT_EQ(decode(model, at::zeros({0, 16}, at::kLong), 4, 4).sizes(),
            (std::vector<int64_t>{0, 3, 16, 16}));
}

}  // namespace
}  // namespace lexel::vqgan
