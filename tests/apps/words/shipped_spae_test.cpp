#include <ATen/ops/cat.h>
#include <algorithm>
#include <filesystem>
#include <gmock/gmock.h>
#include <sstream>

#include "apps/eval/floors.h"
#include "apps/eval/metrics.h"
#include "tests/apps/programs_fixture.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/preprocess.h"
#include "tokenizers/load.h"

namespace lexel::tests {
namespace {

const std::string kAssets = LEXEL_SOURCE_DIR "/assets/";

/// What `--model spae` means: the model that ships.
class ShippedSpae : public ProgramsTest {
 protected:
  static std::vector<std::string> pictures() {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(kAssets + "pictures"))
      paths.push_back(entry.path().string());
    std::ranges::sort(paths);
    return paths;
  }
};

TEST_F(ShippedSpae, IsSmallAndItsWordsAreThoseOfTheShippedTable) {
  EXPECT_LE(std::filesystem::file_size(kAssets + "spae-128.safetensors"), 8'000'000U);
  EXPECT_LE(std::filesystem::file_size(kAssets + "words-llama.safetensors"), 5'000'000U);
  EXPECT_EQ(load_image_tokenizer(kAssets + "spae-128.safetensors", "cpu")->info().words.size(),
            5452U);
}

TEST_F(ShippedSpae, RedrawsPicturesAboutAsWellAsTheirMosaic) {
  const auto tokenizer = load_image_tokenizer(kAssets + "spae-128.safetensors", "cpu");
  Preprocess preprocess = tokenizer->info().preprocess;
  preprocess.fit = "crop";
  std::vector<at::Tensor> tiles;
  for (const std::string& path : pictures())
    tiles.push_back(prepare(read_image(path), preprocess).tiles);
  const at::Tensor images = at::cat(tiles);
  const at::Tensor ids = tokenizer->encode(images);
  const auto psnr_of = [&](const at::Tensor& drawn) {
    return eval::psnr(drawn, images).mean().item<double>();
  };
  const double all = psnr_of(tokenizer->decode(ids));
  EXPECT_GT(all, psnr_of(eval::mosaic(images, 8)) - 1.0);
  // 85 words draw less than 597, and more than one.
  const double some = psnr_of(tokenizer->decode(ids.narrow(1, 0, 85).contiguous()));
  EXPECT_LT(some, all);
  EXPECT_GT(some, psnr_of(tokenizer->decode(ids.narrow(1, 0, 1).contiguous())));
}

TEST_F(ShippedSpae, IsFoundByItsName) {
  const std::string picture = kAssets + "pictures/sunflower.png";
  std::filesystem::current_path(folder_.path());
  std::filesystem::create_directory("spae");  // a folder of that name is not meant
  const ProgramResult words = run_program({LEXEL_BIN_DIR "/img2tok", "--model", "spae", "--format",
                                           "text", "--layers", "2", picture, "-"});
  ASSERT_EQ(words.exit_code, 0) << words.err;
  std::istringstream lines(words.out);
  std::string line;
  int64_t said = 0;
  while (std::getline(lines, line)) {
    std::istringstream row(line);
    for (std::string word; !line.starts_with('#') && row >> word;) ++said;
  }
  EXPECT_EQ(said, 5) << words.out;
  write_file(path("words.txt"), words.out);
  const ProgramResult drawn = run_program(
      {LEXEL_BIN_DIR "/tok2img", "--model", "spae", path("words.txt"), path("drawn.png")});
  ASSERT_EQ(drawn.exit_code, 0) << drawn.err;
  EXPECT_EQ(read_image(path("drawn.png")).width(), 128);
  expect_failure(run_program({LEXEL_BIN_DIR "/img2tok", "--model", "nosuch", picture, "-"}), 4,
                 "nosuch");
}

}  // namespace
}  // namespace lexel::tests
