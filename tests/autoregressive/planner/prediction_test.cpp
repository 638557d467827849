#include "autoregressive/planner/prediction.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::planner {
namespace {

using parallel::PipelineShape;
using parallel::ScheduleKind;

/// Times of one for every chunk and direction, without sends.
ChunkTimes ones(int64_t stages, int64_t rounds, bool encoder) {
  ChunkTimes times;
  times.decoder_forward.assign(static_cast<size_t>(stages * rounds), 1);
  times.decoder_backward = times.decoder_forward;
  if (encoder) times.encoder_forward.assign(static_cast<size_t>(stages), 1);
  times.encoder_backward = times.encoder_forward;
  return times;
}

TEST(Replay, UnitTimesAreTheClocksOfTheSchedule) {
  for (const auto kind : {ScheduleKind::kGpipe, ScheduleKind::kOneForwardOneBackward}) {
    for (const int64_t stages : {1, 2, 4}) {
      for (const int64_t micro_batches : {1, 4, 7}) {
        const auto schedule = parallel::make_schedule(kind, {stages, micro_batches, 1});
        const Replay run = replay(schedule, ones(stages, 1, false));
        EXPECT_EQ(run.time, static_cast<double>(2 * (micro_batches + stages - 1)));
        for (const double busy : run.busy) EXPECT_EQ(busy, static_cast<double>(2 * micro_batches));
      }
    }
  }
  const auto circular = parallel::make_schedule(ScheduleKind::kCircular, {4, 8, 3});
  EXPECT_EQ(replay(circular, ones(4, 3, false)).time, 2 * (3 * 8 + 4 - 1));
}

TEST(Replay, TheSlowestStageSetsThePace) {
  // Alpa's T* = sum t + (B - 1) max t, forward and backward in one.
  ChunkTimes times = ones(3, 1, false);
  times.decoder_forward = {1, 2, 1.5};
  times.decoder_backward = {2, 4, 3};
  const auto schedule = parallel::make_schedule(ScheduleKind::kGpipe, {3, 16, 1});
  EXPECT_DOUBLE_EQ(replay(schedule, times).time, (4.5 + 15 * 2) + (9 + 15 * 4));
}

TEST(Replay, EncoderFirstAndLast) {
  const auto schedule =
      parallel::with_encoder(parallel::make_schedule(ScheduleKind::kGpipe, {2, 4, 1}));
  const Replay run = replay(schedule, ones(2, 1, true));
  EXPECT_GE(run.time, 2 * 2 * 4 + 2);
  EXPECT_LE(run.time, static_cast<double>(schedule.clocks()));
  ChunkTimes sends = ones(2, 1, true);
  sends.encoder_send = sends.decoder_send = 0.5;
  EXPECT_GT(replay(schedule, sends).time, run.time);
}

class PredictionTest : public ::testing::Test {
 protected:
  static Training small_training() {
    Training training;
    training.batch = 64;
    training.compute_bytes = 4;
    training.dropout = 0;
    return training;
  }
  static Machine slow_machine() {
    Machine machine;
    machine.flops = 1e11;
    machine.memory_bytes = 4e9;
    machine.memory_bandwidth = 1e10;
    machine.inside = machine.between = {1e-4, 1e-9};
    machine.overlap = 0;
    return machine;
  }
  static parallel::Plan plan(const ar::Config& config, const char* mesh, int64_t micro_batches = 1,
                             const char* schedule = "gpipe", int64_t rounds = 1) {
    return parallel::even_plan(config, parallel::parse_mesh(mesh), 64, micro_batches, schedule,
                               rounds);
  }
  static ar::Config config() {
    ar::Config c = ar::parti_lexel_128();
    c.heads = 4;
    return c;
  }
  const Predictor predictor{config(), slow_machine(), small_training()};
};

TEST_F(PredictionTest, OneDeviceComputesThreeTimesTheForwardPass) {
  const auto predicted = predictor.predict(plan(config(), ""));
  const double weights = predictor.graph().weights();
  EXPECT_NEAR(predicted.step_s, 3 * 64 * predictor.graph().flops() / 1e11 + 28 * weights / 1e10,
              1e-9);
  EXPECT_EQ(predicted.bubble, 0);
  EXPECT_TRUE(predicted.bytes.empty());
  ASSERT_EQ(predicted.ranks.size(), 1u);
  EXPECT_GT(predicted.ranks[0].memory_bytes, 16 * weights);
}

TEST_F(PredictionTest, DataParallelHalvesWorkAndState) {
  const auto one = predictor.predict(plan(config(), "")),
             two = predictor.predict(plan(config(), "data=2"));
  const double weights = predictor.graph().weights();
  // A ring sends (n - 1) / n of the gradients and of the weights.
  EXPECT_EQ(two.bytes, (std::map<std::string, double>{{"all_gather", 2 * weights},
                                                      {"reduce_scatter", 2 * weights}}));
  EXPECT_NEAR(two.step_s, 0.5 * one.step_s + 2 * (1e-4 + 1e-9 * 2 * weights), 1e-9);
  parallel::Plan whole = plan(config(), "data=2");
  whole.shard_update = false;
  const auto unsharded = predictor.predict(whole);
  EXPECT_EQ(unsharded.bytes, (std::map<std::string, double>{{"all_reduce", 4 * weights}}));
  // Half of 8 bytes of state saved, half of the gradients' 4 more.
  EXPECT_NEAR(unsharded.ranks[0].memory_bytes - two.ranks[0].memory_bytes, 2 * weights, 1);
}

TEST_F(PredictionTest, TensorParallelBytesAreTheExecutorsOwn) {
  parallel::Plan tensor = plan(config(), "tensor=2");
  const auto replicated = predictor.predict(tensor);
  tensor.residual = "split";
  const auto split = predictor.predict(tensor);
  EXPECT_GT(replicated.bytes.at("all_reduce"), 0);
  EXPECT_EQ(replicated.bytes.count("all_gather"), 0u);
  EXPECT_GT(split.bytes.at("reduce_scatter"), 0);
  EXPECT_LT(split.ranks[0].memory_bytes, replicated.ranks[0].memory_bytes);
  // Per block 8 (t-1)/t b s h e, a third pair for cross-attention; tables, text and loss beside.
  const double picture = 4.0 * 64 * 256 * 320, text = 4.0 * 64 * 48 * 320;
  const double blocks = 4 * 6 * picture + 2 * 4 * text;
  EXPECT_GT(replicated.bytes.at("all_reduce"), blocks);
  EXPECT_LT(replicated.bytes.at("all_reduce"), blocks + 2.2 * picture + 2.2 * text);
}

TEST_F(PredictionTest, RematerialisationTradesTimeForMemory) {
  parallel::Plan kept = plan(config(), "", 2), again = kept;
  again.rematerialize = true;
  const auto a = predictor.predict(kept), b = predictor.predict(again);
  EXPECT_GT(b.step_s, 1.2 * a.step_s);
  EXPECT_LT(b.step_s, 1.34 * a.step_s);
  EXPECT_LT(b.ranks[0].memory_bytes, a.ranks[0].memory_bytes);
}

TEST_F(PredictionTest, OneForwardOneBackwardHoldsFewerActivationsThanGpipe) {
  const auto gpipe = predictor.predict(plan(config(), "pipeline=2", 8));
  const auto one = predictor.predict(plan(config(), "pipeline=2", 8, "1f1b"));
  EXPECT_NEAR(one.step_s, gpipe.step_s, 0.2 * gpipe.step_s);
  for (size_t rank = 0; rank < 2; ++rank)
    EXPECT_LT(one.ranks[rank].memory_bytes, gpipe.ranks[rank].memory_bytes);
  EXPECT_GT(gpipe.bubble, 0.0);
  EXPECT_LT(gpipe.bubble, 0.5);
}

TEST_F(PredictionTest, APipelineSendsItsStreamsAndTheText) {
  // Two stages: the stream of pictures forward or backward, of texts the same, and the text one way or its gradient back.
  const double picture = 4.0 * 64 * 256 * 320, text = 4.0 * 64 * 48 * 320;
  for (const int64_t micro_batches : {1, 8}) {
    const auto predicted = predictor.predict(plan(config(), "pipeline=2", micro_batches));
    EXPECT_EQ(predicted.bytes, (std::map<std::string, double>{{"send", picture + 2 * text}}));
  }
}

TEST_F(PredictionTest, MoreMicroBatchesShrinkTheBubble) {
  double before = 1;
  for (const int64_t micro_batches : {2, 4, 8, 16}) {
    const auto predicted = predictor.predict(plan(config(), "pipeline=2", micro_batches));
    EXPECT_LT(predicted.bubble, before);
    before = predicted.bubble;
  }
}

TEST_F(PredictionTest, TheBoundIsCloseBelowThePrediction) {
  for (const char* mesh :
       {"", "data=2", "tensor=2", "pipeline=2", "data=2,pipeline=2,tensor=2", "pipeline=4"}) {
    for (const int64_t micro_batches : {1, 4, 8}) {
      const parallel::Plan p = plan(config(), mesh, micro_batches);
      EXPECT_LE(predictor.lower_bound(p), predictor.predict(p).step_s * (1 + 1e-3)) << mesh;
      double most = 0;
      for (const auto& rank : predictor.predict(p).ranks) most = std::max(most, rank.memory_bytes);
      EXPECT_DOUBLE_EQ(predictor.memory(p), most);
    }
  }
}

TEST_F(PredictionTest, LongSchedulesAreExtrapolatedFromTheirSegments) {
  Training training = small_training();
  training.batch = 16384;
  const Predictor large(config(), slow_machine(), training);
  const auto step = [&](int64_t micro_batches) {
    return large
        .predict(parallel::even_plan(config(), parallel::parse_mesh("pipeline=4"), 16384,
                                     micro_batches, "1f1b"))
        .step_s;
  };
  // One picture a micro-batch, 16384 of them (131,072 actions), beside 2048 of eight: the same work, a smaller bubble.
  EXPECT_LT(step(16384), step(2048));
  EXPECT_GT(step(16384), 0.9 * step(2048));
}

TEST_F(PredictionTest, AnotherModelsPlanIsRefused) {
  parallel::Plan other = plan(config(), "");
  other.fingerprint[0] = other.fingerprint[0] == '0' ? '1' : '0';
  tests::expect_error(ErrorKind::kUsage, "another model", [&] { (void)predictor.predict(other); });
}

}  // namespace
}  // namespace lexel::planner
