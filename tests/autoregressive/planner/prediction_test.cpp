#include "autoregressive/planner/prediction.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "autoregressive/parallel/expert_parallel.h"
#include "autoregressive/parallel/sharded_model.h"
#include "autoregressive/stages.h"
#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/ranks.h"

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
  ar::Config sparse = config();
  sparse.experts = 4;
  const Predictor experts(sparse, slow_machine(), small_training());
  for (const char* mesh : {"expert=2", "data=2,expert=4", "pipeline=2,expert=2,tensor=2"}) {
    const parallel::Plan p = plan(sparse, mesh, 4);
    EXPECT_LE(experts.lower_bound(p), experts.predict(p).step_s * (1 + 1e-3)) << mesh;
  }
}

/// Tasks 0 and 1 choose experts apart: 0 and 1, 2 and 3.
void spread_tasks(ar::Model& model) {
  const at::NoGradGuard no_grad;
  for (const Parameter& p : ar::parameters(model)) {
    const bool tasks = p.name.ends_with(".tasks");
    if (!tasks && !p.name.ends_with(".router")) continue;
    p.tensor->zero_();
    for (int64_t i = 0; i < p.shape[0]; ++i)
      p.tensor->select(0, i).select(0, tasks ? i : i / 2).fill_(1.0);
  }
}

/// What a rank of the axis "expert" sends in a step of two passes, as the trainer makes them.
std::map<std::string, double> sent_by_experts(const ar::Config& config, const parallel::Plan& plan,
                                              at::ScalarType compute, parallel::Mesh& mesh) {
  parallel::Group& group = mesh.along("expert");
  const parallel::ExpertAllToAll exchange(group);
  const auto sharding = parallel::sharding_of(config, plan);
  ar::Model whole = ar::make_model(config, 3, at::kCPU);
  if (config.tasks > 0) spread_tasks(whole);
  ar::Model model = parallel::shard(whole, sharding, mesh);
  const ParameterList parameters = parallel::local_parameters(model, sharding);
  require_gradients(parameters, true);
  const int64_t rows = plan.batch / group.size() / plan.micro_batches;
  ar::Condition condition = tests::tiny_condition(config, rows);
  if (config.tasks > 0) condition.tasks = at::tensor({0, 1}, at::kLong);
  group.forget_traffic();
  for (int64_t pass = 0; pass < plan.micro_batches; ++pass) {
    ar::ExpertRecord record;
    ar::ForwardOptions options;
    options.compute = compute;
    options.experts = &record;
    options.exchange = &exchange;
    options.rematerialize = plan.rematerialize;
    options.text_tokens = config.max_text_tokens;
    const at::Tensor loss =
        ar::token_loss(model, condition, tests::tiny_tokens(config, rows), options);
    (loss + 0.01 * record.auxiliary).backward();
  }
  parallel::Group alone;
  parallel::reduce_gradients(parameters, group, alone);
  std::map<std::string, double> sent;
  for (const auto& [name, count] : group.traffic().by_collective)
    sent[name] = static_cast<double>(count.bytes);
  return sent;
}

TEST_F(PredictionTest, BytesOverTheAxisExpertAreThoseThatAreSent) {
  for (const char* const routing : {"token", "task"}) {
    for (const bool rematerialize : {false, true}) {
      for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
        ar::Config config = tests::tiny_experts(routing);
        if (config.tasks > 0) {
          config.tasks = 2;
          config.max_text_tokens = 1;  // all captions as long as they may be: no row is padding
        }
        Training training = small_training();
        training.batch = 8;
        training.compute_bytes = compute == at::kFloat ? 4 : 2;
        parallel::Plan plan =
            parallel::even_plan(config, parallel::parse_mesh("expert=2"), 8, /*micro_batches=*/2);
        plan.rematerialize = rematerialize;
        const auto predicted = Predictor(config, slow_machine(), training).predict(plan);
        EXPECT_GT(predicted.bytes.at("all_to_all"), 0);
        EXPECT_GT(predicted.bytes.at("all_reduce"), 0);
        tests::on_mesh("expert=2", [&](parallel::Mesh& mesh) {
          EXPECT_EQ(sent_by_experts(config, plan, compute, mesh), predicted.bytes)
              << routing << ", computed again " << rematerialize << ", " << compute;
        });
      }
    }
  }
}

TEST_F(PredictionTest, ExpertsOnTwoRanksTakeTheirWorkAndTheirExchange) {
  ar::Config sparse = ar::vim_fashion();
  sparse.experts = 8;
  const Predictor experts(sparse, slow_machine(), small_training());
  const auto of = [&](const char* mesh) { return experts.predict(plan(sparse, mesh)); };
  const auto one = of(""), two = of("expert=2"), data = of("data=2");
  // Two layers, four exchanges each, of 8 experts and ceil(2 49 / 8) rows for each of 32 pictures; half of them leave, and all are copied.
  const double rows = 8 * 13 * 32, whole = rows * 128 * 4, values = experts.graph().weights(),
               own = 2 * 8 * 2 * 128 * 512;
  EXPECT_EQ(two.bytes, (std::map<std::string, double>{{"all_reduce", 4 * (values - own)},
                                                      {"all_to_all", 8 * whole / 2}}));
  const double exchange = 8 * (1e-4 + 1e-9 * whole / 2 + 2 * whole / 1e10);
  const double held = values - own / 2;
  const double mean = 1e-4 + 1e-9 * 4 * (values - own) + 24 * held / 1e10;
  const double work = 3 * 64 * experts.graph().flops() / 1e11;
  EXPECT_NEAR(one.step_s, work + 28 * values / 1e10, 1e-9);
  EXPECT_NEAR(two.step_s, work / 2 + exchange + mean + 28 * held / 1e10, 1e-9);
  // Every rank of "data" has all experts and their gradients.
  EXPECT_LT(two.ranks[0].memory_bytes, data.ranks[0].memory_bytes);
}

TEST_F(PredictionTest, ByTaskExpertsHaveAsManyRowsAsTheOneThatIsChosenMost) {
  ar::Config by_task = ar::vim_fashion();
  by_task.experts = 8;
  by_task.routing = "task";
  by_task.tasks = 10;
  const Predictor experts(by_task, slow_machine(), small_training());
  // 8 pictures a pass choose 16 of 8 experts; of one picture a pass each expert has a picture's rows.
  const auto sent = [&](int64_t micro_batches) {
    return experts.predict(plan(by_task, "expert=2", micro_batches)).bytes.at("all_to_all");
  };
  EXPECT_EQ(sent(4), 4 * 8 * (8 * 2 * 49) * 128 * 4.0 / 2);
  EXPECT_EQ(sent(32), 32 * 8 * (8 * 49) * 128 * 4.0 / 2);
}

TEST_F(PredictionTest, AWholeReduceScatterMakesTheSplitStreamSlower) {
  Machine gloo = slow_machine();
  gloo.transport = Transport::kGloo;
  const Predictor on_gloo(config(), gloo, small_training());
  parallel::Plan tensor = plan(config(), "tensor=2");
  EXPECT_NEAR(on_gloo.predict(tensor).step_s, predictor.predict(tensor).step_s, 1e-9);
  tensor.residual = "split";
  const auto ring = predictor.predict(tensor), whole = on_gloo.predict(tensor);
  EXPECT_EQ(ring.bytes, whole.bytes);  // as Group counts them
  EXPECT_GT(whole.step_s, ring.step_s + 1e-9 * ring.bytes.at("reduce_scatter"));
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
