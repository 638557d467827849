#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>
#include <map>
#include <string>

#include "kernels/check.h"
#include "tests/support/random_tensor.h"
#include "tokenizers/io/safetensors.h"
#include "vqgan/model.h"

namespace lexel::vqgan {
namespace {

// A tiny model of enhancing-transformers' ViT-VQGAN, with inputs and outputs of its own code
// (thuanz123/enhancing-transformers@e1c185d, PyTorch 2.11, CPU, float32): tests/data/README.md.
class ParityTest : public testing::Test {
 protected:
  ParityTest() : file_(LEXEL_SOURCE_DIR "/tests/data/et_vitvq.safetensors") {
    Config config;
    config.image_size = 32;
    config.patch_size = 4;
    StackConfig stack;
    stack.depth = 2;
    stack.width = 48;
    stack.heads = 3;
    stack.head_width = 16;
    stack.hidden = 96;
    stack.activation = "tanh";
    stack.qkv_bias = false;
    stack.tanh_head = false;
    config.encoder = config.decoder = stack;
    config.codebook_size = 128;
    config.code_width = 16;
    config.positions = "sincos";
    config.pixel_center = 0.0;
    model_ = make_model(config, 1, at::kCPU);
    assign(parameters(model_), converted());
  }

  at::Tensor weight(const std::string& key) const { return file_.tensor("weights/" + key); }

  std::map<std::string, at::Tensor> converted() const {
    std::map<std::string, at::Tensor> values;
    const auto copy = [&](const std::string& ours, const std::string& theirs, bool bias = true) {
      values[ours + ".weight"] = weight(theirs + ".weight");
      if (bias) values[ours + ".bias"] = weight(theirs + ".bias");
    };
    for (const std::string stack : {"encoder", "decoder"}) {
      for (int i = 0; i < 2; ++i) {
        const std::string ours = concat(stack, ".blocks.", i);
        const std::string theirs = concat(stack, ".transformer.layers.", i);
        copy(ours + ".attention_norm", theirs + ".0.norm");
        copy(ours + ".qkv", theirs + ".0.fn.to_qkv", false);
        copy(ours + ".out", theirs + ".0.fn.to_out");
        copy(ours + ".feed_forward_norm", theirs + ".1.norm");
        copy(ours + ".up", theirs + ".1.fn.net.0");
        copy(ours + ".down", theirs + ".1.fn.net.2");
      }
      copy(stack + ".norm", stack + ".transformer.norm");
    }
    values["encoder.patch.weight"] = weight("encoder.to_patch_embedding.0.weight").flatten(1);
    values["encoder.patch.bias"] = weight("encoder.to_patch_embedding.0.bias");
    values["encoder.positions"] = weight("encoder.en_pos_embedding").squeeze(0);
    values["decoder.positions"] = weight("decoder.de_pos_embedding").squeeze(0);
    copy("encoder.head", "pre_quant");
    copy("decoder.code", "post_quant");
    values["decoder.head.weight"] = weight("decoder.to_pixel.1.weight").flatten(1).t();
    values["decoder.head.bias"] = weight("decoder.to_pixel.1.bias").repeat_interleave(16);
    values["quantizer.codebook"] = weight("quantizer.embedding.weight");
    return values;
  }

  static double largest_difference(const at::Tensor& a, const at::Tensor& b) {
    return (a - b).abs().max().item<double>();
  }

  SafetensorsFile file_;
  Model model_;
};

TEST_F(ParityTest, IdsLatentsAndPicturesAreThoseOfEnhancingTransformers) {
  const auto images = file_.tensor("in/image");
  const auto latents = encode_latents(model_.encoder, model_.config, images, at::kFloat);
  // Latents reach 4.3; their own float32 differs from their float64 by 1.2e-5.
  EXPECT_LT(tests::relative_difference(latents, file_.tensor("out/latent")), 1e-5);
  const Forward f = forward(model_, images, at::kFloat);
  EXPECT_TRUE(at::equal(f.ids, file_.tensor("out/ids")));
  EXPECT_TRUE(at::equal(encode(model_, images), file_.tensor("out/ids")));
  EXPECT_LT(largest_difference(f.codes, file_.tensor("out/quantized")), 1e-6);
  EXPECT_LT(largest_difference(f.pictures, file_.tensor("out/recon")), 1e-5);
}

TEST_F(ParityTest, UnrelatedIdsDecodeToTheirPicture) {
  const auto ids = file_.tensor("in/ids");
  const auto expected = file_.tensor("out/decoded_ids_image").clamp(0.0, 1.0);
  EXPECT_LT(largest_difference(decode(model_, ids, 8, 8), expected), 1e-5);
}

TEST_F(ParityTest, TheSincosTableIsTheirs) {
  const auto expected = file_.tensor("out/sincos_encoder").squeeze(0);
  EXPECT_LT(largest_difference(sincos_positions(8, 8, 48), expected), 1e-6);
}

}  // namespace
}  // namespace lexel::vqgan
