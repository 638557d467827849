#pragma once

#include <ATen/ops/empty.h>
#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"
#include "tests/vqgan/tiny_model.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/vit_vqgan_file.h"
#include "vqgan/model.h"

namespace lexel::tests {

/// A picture with gradients and an edge, different for each `kind`.
inline Image sample_image(int64_t width, int64_t height, int kind = 0) {
  Image image{at::empty({height, width, 3}, at::kByte)};
  uint8_t* p = image.pixels.data_ptr<uint8_t>();
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      *p++ = static_cast<uint8_t>(255 * x / width);
      *p++ = static_cast<uint8_t>(255 * y / height);
      *p++ = static_cast<uint8_t>((x * (kind + 1) + y) % 256 > 127 ? 220 : 30 + kind);
    }
  }
  return image;
}

/// Runs the real executables with a tiny model in a temporary folder.
class ProgramsTest : public ::testing::Test {
 protected:
  void SetUp() override { write_model(model(), 1); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string model() const { return path("tiny.safetensors"); }

  static void write_model(const std::string& file, uint64_t seed, int64_t image_size = 16) {
    vqgan::Config config = tiny_config();
    config.image_size = image_size;
    vqgan::Model fresh = vqgan::make_model(config, seed, at::kCPU);
    Preprocess preprocess;
    preprocess.image_size = config.image_size;
    write_model_file(file, vit_vqgan_file(fresh, preprocess));
  }

  /// img2tok with the tiny model and without progress.
  ProgramResult img2tok(std::vector<std::string> arguments, const std::string& input = "") const {
    return run("img2tok", std::move(arguments), input);
  }
  ProgramResult tok2img(std::vector<std::string> arguments, const std::string& input = "") const {
    return run("tok2img", std::move(arguments), input);
  }
  static ProgramResult lexel(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), LEXEL_BIN_DIR "/lexel");
    return run_program(arguments);
  }

  /// One line on stderr that starts with the program's name and holds `words`; nothing on stdout.
  static void expect_failure(const ProgramResult& result, int exit_code, const std::string& words) {
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_EQ(result.out, "");
    ASSERT_FALSE(result.err.empty());
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << "expected one line, got:\n"
                                                            << result.err;
    EXPECT_NE(result.err.find(words), std::string::npos)
        << "expected \"" << words << "\" in: " << result.err;
  }

  TemporaryFolder folder_;

 private:
  ProgramResult run(const std::string& program, std::vector<std::string> arguments,
                    const std::string& input) const {
    arguments.insert(arguments.begin(),
                     {LEXEL_BIN_DIR "/" + program, "--model", model(), "--device", "cpu"});
    return run_program(arguments, input);
  }
};

}  // namespace lexel::tests
