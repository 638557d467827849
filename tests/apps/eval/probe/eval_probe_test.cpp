#include <ATen/TensorOperators.h>
#include <nlohmann/json.hpp>

#include "autoregressive/generator_file.h"
#include "tests/apps/programs_fixture.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/io/picture_source.h"
#include "tokenizers/load.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel::tests {
namespace {

/// A generator for the fixture's tokenizer: a 4 x 4 grid of 32 codes.
class EvalProbeTest : public ProgramsTest {
 protected:
  void SetUp() override {
    ProgramsTest::SetUp();
    write_generator("vim.safetensors", 0);
    write_pictures("data.tar", 60, /*with_class=*/true);
  }

  void write_generator(const std::string& name, int64_t text_depth,
                       const std::string& fingerprint = "") {
    ar::Generator generator;
    ar::Config config;
    config.text_depth = text_depth;
    config.max_text_tokens = 4;
    config.classes = text_depth > 0 ? 0 : 2;
    config.depth = 3;
    config.width = 16;
    config.heads = 2;
    config.hidden = 32;
    config.grid_height = config.grid_width = 4;
    config.codebook_size = 32;
    config.conv_kernel = 3;
    if (text_depth > 0) {
      generator.text = text_tokenizer_from_bytes(english_model(), "test");
      config.text_vocabulary = generator.text->vocabulary_size();
    }
    generator.model = ar::make_model(config, 1, at::kCPU);
    generator.codebook_fingerprint =
        fingerprint.empty() ? load_image_tokenizer(model(), "cpu")->info().codebook_fingerprint
                            : fingerprint;
    generator.tokenizer_name = "tiny.safetensors";
    write_model_file(path(name), ar::generator_file(generator, ar::Stored::kFloat32));
  }

  /// Dark and bright pictures, every third one held out.
  void write_pictures(const std::string& name, int count, bool with_class) {
    TarWriter tar(path(name));
    for (int i = 0; i < count; ++i) {
      const int label = i * 7 % 5 % 2;
      Image image = sample_image(16, 16, i % 6);
      image.pixels.div_(4, "floor").add_(label * 190);
      const std::vector<uint8_t> png = encode_image(image, "png");
      nlohmann::json about = {{"caption", label == 1 ? "bright" : "dark"},
                              {"split", i % 3 == 0 ? "heldout" : "train"}};
      if (with_class) about["class"] = label;
      const std::string json = about.dump(), key = std::to_string(1000 + i);
      tar.add(key + ".png", png.data(), png.size());
      tar.add(key + ".json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
    }
    tar.close();
  }

  ProgramResult probe(std::vector<std::string> more,
                      const std::string& generator = "vim.safetensors",
                      const std::string& data = "data.tar") const {
    std::vector<std::string> arguments{"eval",        "probe",         path(data),
                                       "--generator", path(generator), "--tokenizer",
                                       model(),       "--device",      "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return lexel(arguments);
  }
};

TEST_F(EvalProbeTest, TellsDarkFromBrightAndSaysHowWell) {
  const ProgramResult result = probe({"--blocks", "all", "--output", path("r.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto report = nlohmann::json::parse(read_text(path("r.json")));
  EXPECT_EQ(report["classes"], 2);
  EXPECT_EQ(report["pictures to learn from"], 40);
  EXPECT_EQ(report["held-out pictures"], 20);
  EXPECT_EQ(report["reference set SHA-256"].get<std::string>().size(), 64U);
  ASSERT_EQ(report["probes"].size(), 6U);  // three blocks, pixels, tokens twice
  EXPECT_EQ(report["probes"][0]["probe on"], "mean of block 0");
  EXPECT_EQ(report["probes"][0]["inputs"], 16);
  EXPECT_EQ(report["probes"][3]["probe on"], "pixels");
  EXPECT_EQ(report["probes"][3]["inputs"], 3 * 16 * 16);
  EXPECT_EQ(report["probes"][4]["inputs"], 16 * 32);
  EXPECT_EQ(report["probes"][5]["inputs"], 32);
  EXPECT_EQ(report["probes"][3]["accuracy"], 1.0);
  EXPECT_LT(report["probes"][3]["low"], 0.9);
  for (const auto& one : report["probes"]) {
    EXPECT_GE(one["accuracy"], 0.7) << one.dump();  // even of random weights
    EXPECT_LE(one["low"], one["accuracy"]);
    EXPECT_GE(one["high"], one["accuracy"]);
  }
  EXPECT_NE(result.out.find("pixels"), std::string::npos);
  EXPECT_NE(result.out.find("100.0 %"), std::string::npos);
}

TEST_F(EvalProbeTest, TheSameTwiceAndForAnyBatch) {
  const ProgramResult first = probe({}), again = probe({"--batch", "7"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(again.out, first.out);
}

TEST_F(EvalProbeTest, CaptionsAreClassesAndPartiIsProbedToo) {
  write_pictures("captions.tar", 60, /*with_class=*/false);
  write_generator("parti.safetensors", 1);
  const ProgramResult result =
      probe({"--train", "30", "--test", "10"}, "parti.safetensors", "captions.tar");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("2 classes, 30 pictures to learn from, 10 held out"), std::string::npos)
      << result.out;
  EXPECT_NE(result.out.find("mean of block 1"), std::string::npos) << result.out;
}

TEST_F(EvalProbeTest, WhatCannotBeIsRefusedInOneLine) {
  expect_failure(probe({"--blocks", "3"}), 2,
                 "--blocks: expected middle, all or a number in 0 to 2");
  expect_failure(lexel({"eval", "probe", path("data.tar")}), 2, "--generator");
  write_generator("other.safetensors", 0, std::string(64, 'b'));
  expect_failure(probe({}, "other.safetensors"), 3, "whose codebook is not that of");
  write_pictures("few.tar", 1, true);
  expect_failure(probe({}, "vim.safetensors", "few.tar"), 2, "expected pictures with classes");
}

}  // namespace
}  // namespace lexel::tests
