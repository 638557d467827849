#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apps/eval/fewshot/worded_pictures.h"
#include "apps/eval/metrics.h"
#include "apps/eval/spae/layerwise.h"
#include "apps/eval/spae/options.h"
#include "apps/eval/spae/report.h"
#include "tests/apps/train/spae/word_tar.h"
#include "tests/spae/tiny_spae.h"
#include "tests/support/expect_error.h"
#include "tests/support/run_program.h"
#include "tokenizers/guide_file.h"
#include "tokenizers/io/safetensors.h"
#include "tokenizers/spae_file.h"

namespace lexel::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

/// A random SPAE that sees a random guide's features, and the small table's drawings and photos.
class EvalSpae : public testing::Test {
 protected:
  EvalSpae() {
    spae::Config config = tests::tiny_spae("vit");
    config.num_words = 20;
    config.feature_width = vqgan::kDepthFeatures;
    config.feature_hidden = 16;
    model_ = spae::make_model(config, spae::make_lexical_codebook(tests::small_table().table, 8), 3,
                              at::kCPU);
    write_model(options_.model = folder_ / "spae.safetensors", /*eye=*/true);
    write_model_file(options_.guide = folder_ / "guide.safetensors",
                     guide_file(guide_, at::kFloat));
    write_table(options_.words = folder_ / "words.safetensors", tests::small_table());
    options_.data = {folder_ / "words.tar"};
    tests::write_word_tar(options_.data.front());
    options_.output = folder_ / "report.json";
    options_.limit = 3;
    options_.quiet = true;
  }

  void write_model(const std::string& path, bool eye) const {
    Preprocess preprocess;
    preprocess.image_size = model_.config.image_size;
    ModelFile file = spae_file(model_, preprocess);
    if (eye) add_eye(guide_, at::kFloat, file);
    write_model_file(path, file);
  }
  static void write_table(const std::string& path, const WordTableFile& table) {
    const std::string words = nlohmann::json(table.table.words).dump();
    const at::Tensor text =
        at::empty({static_cast<int64_t>(words.size())}, at::TensorOptions(at::kByte));
    std::copy(words.begin(), words.end(), text.mutable_data_ptr<uint8_t>());
    write_safetensors(
        path, {{"lexel.table", "{}"}},
        {{"words", text}, {"ids", table.table.ids}, {"vectors", table.table.vectors}});
  }
  std::string run() const {
    testing::internal::CaptureStdout();
    EXPECT_EQ(run_eval_spae(options_), 0);
    return testing::internal::GetCapturedStdout();
  }

  tests::TemporaryFolder folder_;
  spae::Model model_;
  const spae::DualEncoder guide_ = tests::small_guide();
  EvalSpaeOptions options_;
};

TEST_F(EvalSpae, TellsEveryLayerOfDrawingsAndPhotosBesideTheMosaic) {
  const std::string table = run();
  EXPECT_THAT(table, HasSubstr("drawings, 3 pictures"));
  EXPECT_THAT(table, HasSubstr("\n       4      37"));
  EXPECT_THAT(table, HasSubstr("photos, 2 pictures"));
  const auto report = nlohmann::json::parse(tests::read_text(options_.output));
  for (const char* set : {"drawings", "photos"}) {
    ASSERT_THAT(report[set]["layers"], SizeIs(4)) << set;
    EXPECT_GT(report[set]["mosaic"]["PSNR (dB)"], 0.0);
    for (const auto& layer : report[set]["layers"]) {
      EXPECT_GT(layer["PSNR (dB)"], 0.0);
      EXPECT_GE(layer["Frechet distance"], 0.0);
      EXPECT_GE(layer["words"], 1);
      EXPECT_GE(layer["perplexity"], 1.0);
      EXPECT_GE(layer["guide's score"], 0.0);
      EXPECT_LE(layer["guide's score"], 1.0);
    }
  }
  EXPECT_EQ(report["drawings"]["layers"][3]["tokens"], 37);
  EXPECT_EQ(report["upper words"]["words"], 5);
  EXPECT_LE(report["upper words"]["a name"]["value"], report["upper words"]["any word"]["value"]);
}

TEST_F(EvalSpae, ItsNumbersAreThoseOfThePicturesOneByOne) {
  const at::NoGradGuard no_grad;
  train::WordPictures pictures({.inputs = options_.data, .image_size = 16, .held_out = 3},
                               data::WordFinder(tests::small_table()));
  std::vector<int64_t> batches;
  const eval::Layerwise set = eval::layerwise(
      model_, &guide_, nullptr, 3, [&](int64_t i) { return pictures.held_out_drawing(i); }, 2,
      [&](int64_t size) { batches.push_back(size); });
  EXPECT_EQ(batches, (std::vector<int64_t>{3}));
  EXPECT_THAT(set.scores, SizeIs(0));
  for (int64_t i = 0; i < 3; ++i) {
    const at::Tensor image = pictures.held_out_drawing(i).unsqueeze(0);
    const at::Tensor ids = spae::encode(model_, image, spae::guide_features(guide_, image));
    EXPECT_TRUE(ids[0].equal(set.ids[i])) << i;
    const at::Tensor drawn = spae::decode(model_, ids.narrow(1, 0, 5).contiguous());
    EXPECT_NEAR(set.psnr[1][size_t(i)], eval::psnr(drawn, image).item<double>(), 1e-4);
    EXPECT_NEAR(set.ssim[1][size_t(i)], eval::ssim(drawn, image).item<double>(), 1e-4);
  }
  ASSERT_THAT(set.sheet, SizeIs(2));
  ASSERT_THAT(set.sheet[1], SizeIs(6));  // original, mosaic, four prefixes
  EXPECT_TRUE(set.sheet[1][0].equal(pictures.held_out_drawing(1)));
}

TEST_F(EvalSpae, WritesASheetAndTheWordsOfHeldOutDrawings) {
  options_.sheet = folder_ / "sheet.png";
  options_.words_output = folder_ / "words.jsonl";
  // Captions of one word are concepts; those of the other tar name two.
  options_.data.push_back(folder_ / "concepts.tar");
  TarWriter tar(options_.data.back());
  std::vector<std::string> held_out;
  for (int i = 0; i < 100; ++i) {
    const std::string word = tests::small_table().table.words[size_t(i % 20)];
    const std::vector<uint8_t> png =
        encode_image(to_image(tests::random_uniform(uint64_t(i), {3, 20, 20})), "png");
    const std::string about =
        nlohmann::json{{"kind", "emoji"}, {"caption", word}, {"keywords", {"sun"}}}.dump();
    tar.add(concat(i, ".png"), png.data(), png.size());
    tar.add(concat(i, ".json"), reinterpret_cast<const uint8_t*>(about.data()), about.size());
    if (word != "sun" && data::is_held_out_subject(word)) held_out.push_back(word);
  }
  tar.close();
  ASSERT_FALSE(held_out.empty());
  run();
  EXPECT_GT(read_image(options_.sheet).width(), 6 * 16);
  const std::vector<WordedPicture> pictures = read_worded_pictures(options_.words_output, 5);
  ASSERT_EQ(pictures.size(), held_out.size());
  for (size_t i = 0; i < pictures.size(); ++i) {
    EXPECT_EQ(pictures[i].label, held_out[i]);
    EXPECT_THAT(pictures[i].words, SizeIs(5));
  }
}

TEST_F(EvalSpae, RefusesAnotherWordTableAndAModelWithoutItsEye) {
  EvalSpaeOptions other = options_;
  WordTableFile table = tests::small_table();
  table.table.words.back() = "train";
  write_table(other.words = folder_ / "other.safetensors", table);
  tests::expect_error(ErrorKind::kUsage, "give its word table with --words",
                      [&] { run_eval_spae(other); });
  write_model(options_.model, /*eye=*/false);
  tests::expect_error(ErrorKind::kBadData, "its file holds no eye",
                      [&] { run_eval_spae(options_); });
}

}  // namespace
}  // namespace lexel::cli
