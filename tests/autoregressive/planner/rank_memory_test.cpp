#include <ATen/Parallel.h>
#include <cstdlib>
#include <gtest/gtest.h>
#include <iostream>
#include <string>

#include "autoregressive/planner/prediction.h"
#include "tests/bench/counting_allocator.h"
#include "tests/bench/rank_processes.h"
#include "tests/bench/training_steps.h"

// What a rank's tensors take at the peak of a step, counted by their allocator in processes, against the planner's figure.

namespace lexel::planner {
namespace {

using tests::Layout;

constexpr const char* kVariable = "LEXEL_RANK_MEMORY_LAYOUT";
constexpr int64_t kPictures = 16;

ar::Config config() {
  ar::Config config = ar::parti_lexel_128();
  config.text_depth = 2;
  config.depth = 4;
  config.width = 128;
  config.heads = 4;
  config.hidden = 512;
  config.text_vocabulary = 1000;
  config.max_text_tokens = 32;
  config.codebook_size = 512;
  config.conv_layers = "";
  return config;
}

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = {{""},
                                          {"", 4},
                                          {"pipeline=2", 4},
                                          {"pipeline=2", 4, "1f1b"},
                                          {"pipeline=2", 4, "circular", 2},
                                          {"tensor=2"},
                                          {"tensor=2", 1, "gpipe", 1, "split"},
                                          {"data=2"}};
  return all;
}

TEST(RankMemory, ARankOfThisProcess) {
  const char* const chosen = std::getenv(kVariable);
  if (chosen == nullptr) GTEST_SKIP() << "what the test below starts";
  at::set_num_threads(1);
  const tests::CountingAllocator& memory = tests::CountingAllocator::install();
  const Layout& layout = layouts().at(std::stoul(chosen));
  parallel::Mesh mesh(parallel::world_from_environment(std::chrono::seconds(60)),
                      parallel::parse_mesh(layout.mesh), at::kCPU);
  const auto step =
      tests::start_training(config(), layout, kPictures, mesh, {.compute = at::kFloat});
  for (int i = 0; i < 2; ++i) step();
  mesh.everyone().barrier();
  std::cout << "\npeak " << memory.peak() << std::endl;
}

TEST(RankMemory, IsWithinATenthOfWhatThePlannerSays) {
  Training training;
  training.batch = kPictures;
  training.compute_bytes = 4;
  training.dropout = 0;
  training.loss_rows = 512;
  const Predictor predictor(config(), Machine(), training);
  for (size_t i = 0; i < layouts().size(); ++i) {
    const Layout& layout = layouts()[i];
    setenv(kVariable, std::to_string(i).c_str(), 1);
    const auto told = tests::run_ranks(parallel::parse_mesh(layout.mesh).size(),
                                       {"--gtest_filter=RankMemory.ARankOfThisProcess"});
    unsetenv(kVariable);
    const auto predicted = predictor.predict(tests::plan_of(config(), layout, kPictures));
    for (size_t rank = 0; rank < told.size(); ++rank) {
      const size_t at = told[rank].find("\npeak ");
      ASSERT_NE(at, std::string::npos) << told[rank];
      const double peak = std::stod(told[rank].substr(at + 6));
      const double expected = predicted.ranks.at(rank % predicted.ranks.size()).memory_bytes;
      std::cout << "  " << layout.mesh << ' ' << layout.schedule << ' ' << layout.residual
                << ", rank " << rank << ": " << peak / 1e6 << " MB, predicted / counted "
                << expected / peak << '\n';
      EXPECT_NEAR(expected / peak, 1.0, 0.1)
          << layout.mesh << ' ' << layout.schedule << ' ' << layout.micro_batches << ' '
          << layout.residual << ", rank " << rank;
    }
  }
}

}  // namespace
}  // namespace lexel::planner
