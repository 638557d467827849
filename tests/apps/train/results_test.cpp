#include "apps/train/results.h"

#include <ATen/ops/tensor.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <sstream>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/model_file.h"

namespace lexel::train {
namespace {

namespace fs = std::filesystem;

class GatherResults : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_ / "run");
    for (const char* name : {"model.safetensors", "best.safetensors", "metrics.jsonl",
                             "report.html", "samples.png", "run.log", "floor.safetensors"}) {
      tests::write_text(path("run/") + name, std::string("this is ") + name);
    }
  }
  /// A checkpoint of 4 tensors of `numbers` float32 each.
  void write_checkpoint(int64_t numbers) {
    ModelFile file{"training_checkpoint", "{}", "{}", "{}", "none", {}};
    for (const char* name : {"weights/w", "first/w", "second/w", "average/w"}) {
      file.tensors[name] = tests::random_tensor(1, {numbers});
    }
    write_model_file(path("run/checkpoint.safetensors"), file);
  }
  cli::TrainResultsOptions options(int64_t max_files, int64_t max_mb) const {
    return {.run = path("run"), .output = path("out"), .max_files = max_files, .max_mb = max_mb};
  }
  size_t files() const {
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / "out")) {
      EXPECT_LE(entry.file_size(), size_t{1} << 20) << entry.path();
      ++count;
    }
    return count;
  }
  ModelFile joined_checkpoint() const {
    std::string text;
    for (int part = 1; fs::exists(path("out/checkpoint.safetensors.part") + std::to_string(part));
         ++part) {
      text += tests::read_text(path("out/checkpoint.safetensors.part") + std::to_string(part));
    }
    tests::write_text(path("joined.safetensors"), text);
    return read_model_file(path("joined.safetensors"));
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  tests::TemporaryFolder folder_;
  std::ostringstream log_;
};

TEST_F(GatherResults, SmallCheckpointComesAsItIs) {
  write_checkpoint(1000);
  gather_results(options(8, 1), log_);
  EXPECT_EQ(files(), 6U);
  EXPECT_EQ(tests::read_text(path("out/checkpoint.safetensors")),
            tests::read_text(path("run/checkpoint.safetensors")));
  EXPECT_EQ(tests::read_text(path("out/model.safetensors")), "this is model.safetensors");
}

TEST_F(GatherResults, CheckpointInPartsJoinsToTheSameFile) {
  write_checkpoint(180'000);  // 2.75 MiB
  gather_results(options(8, 1), log_);
  EXPECT_EQ(files(), 8U);
  joined_checkpoint();
  EXPECT_EQ(tests::read_text(path("joined.safetensors")),
            tests::read_text(path("run/checkpoint.safetensors")));
}

TEST_F(GatherResults, LargeCheckpointKeepsItsWeightsExactly) {
  write_checkpoint(300'000);  // 4.6 MiB; with three tensors in two bytes 2.9
  gather_results(options(8, 1), log_);
  EXPECT_EQ(files(), 8U) << log_.str();
  const ModelFile file = joined_checkpoint();
  const at::Tensor wanted = tests::random_tensor(1, {300'000});
  EXPECT_TRUE(file.tensors.at("weights/w").equal(wanted));
  EXPECT_EQ(file.tensors.at("second/w").scalar_type(), at::kBFloat16);
  EXPECT_LE(tests::relative_difference(file.tensors.at("average/w"), wanted), 1.0 / 256);
}

TEST_F(GatherResults, CheckpointThatDoesNotFitStaysBehindAndIsNamed) {
  write_checkpoint(600'000);
  gather_results(options(8, 1), log_);
  EXPECT_EQ(files(), 5U);
  EXPECT_NE(log_.str().find("checkpoint.safetensors: left out"), std::string::npos) << log_.str();
}

TEST_F(GatherResults, StoppedRunGivesItsBestModel) {
  write_checkpoint(10);
  fs::remove(path("run/model.safetensors"));
  gather_results(options(8, 1), log_);
  EXPECT_EQ(tests::read_text(path("out/model.safetensors")), "this is best.safetensors");
}

TEST_F(GatherResults, PartsOfAnEarlierRunAreRemoved) {
  write_checkpoint(10);
  fs::create_directories(folder_ / "out");
  tests::write_text(path("out/checkpoint.safetensors.part4"), "old");
  gather_results(options(8, 1), log_);
  EXPECT_FALSE(fs::exists(path("out/checkpoint.safetensors.part4")));
}

TEST_F(GatherResults, RefusesAFolderWithoutARun) {
  tests::expect_error(ErrorKind::kIo, "run/checkpoint.safetensors: no such file",
                      [&] { gather_results(options(8, 1), log_); });
}

}  // namespace
}  // namespace lexel::train
