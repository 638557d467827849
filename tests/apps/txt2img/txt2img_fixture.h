#pragma once

#include <ATen/core/grad_mode.h>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "autoregressive/generator_file.h"
#include "autoregressive/scorer.h"
#include "tests/apps/programs_fixture.h"
#include "tests/autoregressive/tiny_model.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/png_text.h"
#include "tokenizers/load.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel::tests {

/// The real txt2img with a tiny generator of random weights: 4 x 4 tokens of 32 codes, pictures of 16 x 16 pixels.
class Txt2ImgTest : public ProgramsTest {
 protected:
  void SetUp() override {
    ProgramsTest::SetUp();
    write_generator(generator(), 1);
  }

  std::string generator() const { return path("parti.safetensors"); }
  std::string scorer() const { return path("scorer.safetensors"); }

  ar::Generator tiny_generator(uint64_t seed) const {
    ar::Generator made;
    made.text = text_tokenizer_from_bytes(english_model(), "test");
    ar::Config config = tiny_parti();
    config.text_vocabulary = made.text->vocabulary_size();
    config.max_text_tokens = 12;
    config.grid_height = config.grid_width = 4;
    config.codebook_size = 32;
    config.conv_kernel = 3;
    made.model = ar::make_model(config, seed, at::kCPU);
    fill_zeros(made.model);
    const at::NoGradGuard no_grad;
    made.model.softmax.weight.mul_(8.0);  // so that captions and tokens before matter
    made.codebook_fingerprint = load_image_tokenizer(model(), "cpu")->info().codebook_fingerprint;
    made.tokenizer_name = "tiny.safetensors";
    return made;
  }
  void write_generator(const std::string& file, uint64_t seed) const {
    write_model_file(file, ar::generator_file(tiny_generator(seed), ar::Stored::kFloat32));
  }

  void write_scorer() const {
    const auto text = text_tokenizer_from_bytes(english_model(), "test");
    ar::ScorerConfig config;
    config.image_size = 16;
    config.text_vocabulary = text->vocabulary_size();
    config.max_text_tokens = 12;
    config.width = 16;
    config.heads = 2;
    config.hidden = 24;
    config.picture_depth = config.text_depth = 1;
    config.space = 8;
    write_model_file(
        scorer(), scorer_file(ar::make_scorer(config, 3, at::kCPU), *text, "{}", "", at::kFloat));
  }

  ProgramResult txt2img(std::vector<std::string> arguments, const std::string& input = "") const {
    arguments.insert(arguments.begin(), {LEXEL_BIN_DIR "/txt2img", "--model", generator(),
                                         "--tokenizer", model(), "--device", "cpu"});
    return run_program(arguments, input);
  }

  /// Draws, expects success, gives stderr.
  std::string drawn(const std::vector<std::string>& arguments,
                    const std::string& input = "") const {
    const ProgramResult result = txt2img(arguments, input);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.err;
  }

  static PngText text_of(const std::string& file) {
    const std::vector<uint8_t> bytes = read_file(file, 1 << 20);
    return read_png_text(bytes.data(), bytes.size(), file);
  }

  static std::vector<std::string> names_in(const std::string& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
};

}  // namespace lexel::tests
