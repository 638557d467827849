#include "autoregressive/parallel/pipeline.h"

#include <ATen/ops/arange.h>

#include "tests/autoregressive/parallel/pipeline_cases.h"
#include "tests/support/expect_error.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using namespace tests;  // NOLINT: cases and ranks

/// One rank's part of a run that must equal `expected`.
void expect_run_equals(Mesh& mesh, ar::Model model, const Plan& plan,
                       const std::vector<MicroBatch>& parts, const Reference& expected,
                       double tolerance) {
  for (const Parameter& p : ar::parameters(model)) p.tensor->mutable_grad().reset();
  Group& group = mesh.along("pipeline");
  keep_stage(model, plan, group.rank());  // the rest is not there at all
  Pipeline pipeline(group, model.config, plan);
  const at::Tensor losses = pipeline.train(model, parts);
  SCOPED_TRACE(describe(plan));
  expect_equal(losses, stage_parameters(model, plan, group.rank()), expected, tolerance);
}

/// All schedules, M = 1 .. 8, rematerialised in turn; dropout where M is even.
void expect_all_equal(ar::Config config, int64_t stages) {
  if (stages == 2) {  // two rounds still
    config.text_depth /= 2;
    config.depth = 4;
    config.conv_layers = "3";
  }
  std::map<int64_t, std::pair<std::vector<MicroBatch>, Reference>> expected;
  ar::Model whole = fresh_double(config);
  for (int64_t m = 1; m <= 8; ++m) {
    ar::ForwardOptions options = kDouble;
    options.dropout = m % 2 == 0 ? 0.1 : 0.0;
    options.seed = 3;
    auto parts = micro_batches(lesson(config, m), m, options);
    Reference reference = accumulate(whole, parts);
    expected[m] = {std::move(parts), std::move(reference)};
  }
  on_mesh("pipeline=" + std::to_string(stages), [&](Mesh& mesh) {
    const ar::Model model = fresh_double(config);
    int64_t cases = 0;
    for (const auto& schedule : schedules()) {
      ++cases;  // so that each M has both
      for (const auto& [m, pair] : expected) {
        Plan plan = plan_of(config, stages, m, schedule);
        plan.rematerialize = ++cases % 2 == 0;
        expect_run_equals(mesh, model, plan, pair.first, pair.second, 1e-10);
      }
    }
  });
}

TEST(PipelineTest, TextModelOnTwoRanksEqualsOne) { expect_all_equal(deep_parti(), 2); }
TEST(PipelineTest, TextModelOnFourRanksEqualsOne) { expect_all_equal(deep_parti(), 4); }
TEST(PipelineTest, VimOnTwoRanksEqualsOne) { expect_all_equal(deep_vim(), 2); }
TEST(PipelineTest, VimOnFourRanksEqualsOne) { expect_all_equal(deep_vim(), 4); }

TEST(PipelineTest, OneRankRunsEverySchedule) {
  const ar::Config config = deep_parti();
  ar::Model whole = fresh_double(config);
  const auto parts = micro_batches(lesson(config, 6), 3, kDouble);
  const Reference expected = accumulate(whole, parts);
  Mesh mesh;
  for (const auto& schedule : schedules()) {
    expect_run_equals(mesh, fresh_double(config), plan_of(config, 1, 3, schedule), parts, expected,
                      1e-10);
  }
}

// What is not cut evenly: chunks without blocks in either stack, and ranks that hold one stack only.
TEST(PipelineTest, ChunksWithoutBlocksArePassedBy) {
  ar::Config config = deep_parti();
  config.text_depth = 1;
  config.depth = 3;
  config.conv_layers = "";
  ar::Model whole = fresh_double(config);
  const auto parts = micro_batches(lesson(config, 6), 3, kDouble);
  const Reference expected = accumulate(whole, parts);
  on_mesh("pipeline=4", [&](Mesh& mesh) {
    const ar::Model model = fresh_double(config);
    for (const auto& schedule : schedules()) {
      expect_run_equals(mesh, model, plan_of(config, 4, 3, schedule), parts, expected, 1e-10);
      Plan apart = plan_of(config, 4, 3, schedule);
      for (Stage& stage : apart.stages) stage = {{1, 1}, {3, 3}};
      apart.stages[0] = {{0, 1}, {0, 0}};
      apart.stages[1] = {{1, 1}, {0, 2}};
      apart.stages[3] = {{1, 1}, {2, 3}};
      expect_run_equals(mesh, model, apart, parts, expected, 1e-10);
    }
  });
}

TEST(PipelineTest, MicroBatchesOfABatchEqualTheBatchDropoutIncluded) {
  for (const ar::Config& config : {deep_parti(), deep_vim()}) {
    ar::Model whole = fresh_double(config);
    ar::ForwardOptions options = kDouble;
    options.dropout = 0.1;
    options.seed = 7;
    options.step = 5;
    const ar::Lesson batch = lesson(config, 8);
    const Reference expected = accumulate(whole, {{batch, options}});
    on_mesh("pipeline=2", [&](Mesh& mesh) {
      for (const auto& schedule : schedules()) {
        ar::Model model = fresh_double(config);
        const Plan plan = plan_of(config, 2, 4, schedule);
        Pipeline pipeline(mesh.along("pipeline"), config, plan);
        const at::Tensor losses = pipeline.train(model, micro_batches(batch, 4, options));
        expect_equal(losses.mean().unsqueeze(0),
                     stage_parameters(model, plan, mesh.along("pipeline").rank()), expected, 1e-10);
      }
    });
  }
}

// As a trainer accumulates: each part has a step of its own for dropout, other rows, other places.
TEST(PipelineTest, PartsMayDifferInSeenPlacesAndStep) {
  ar::Config config = deep_parti();
  config.conv_layers = "";
  ar::Model whole = fresh_double(config);
  std::vector<MicroBatch> parts;
  for (int64_t m = 0; m < 4; ++m) {
    const int64_t rows = 1 + m;
    ar::Lesson given = lesson(config, rows, static_cast<uint64_t>(20 + m));
    if (m > 0) given.seen = tiny_tokens(config, rows, 77);
    if (m > 1) given.places = at::arange(0, 30, 3 - m % 2).expand({rows, -1}).contiguous();
    ar::ForwardOptions options = kDouble;
    options.dropout = 0.1;
    options.step = 12 + m;
    options.rematerialize = m == 3;
    parts.push_back({given, options});
  }
  const Reference expected = accumulate(whole, parts);
  on_mesh("pipeline=4", [&](Mesh& mesh) {
    const ar::Model model = fresh_double(config);
    for (const auto& schedule : schedules()) {
      for (const bool rematerialize : {false, true}) {
        Plan plan = plan_of(config, 4, 4, schedule);
        plan.rematerialize = rematerialize;
        expect_run_equals(mesh, model, plan, parts, expected, 1e-10);
      }
    }
  });
}

TEST(PipelineTest, GradientsAddUpOverCalls) {
  const ar::Config config = deep_vim();
  ar::Model whole = fresh_double(config);
  const auto parts = micro_batches(lesson(config, 4), 2, kDouble);
  Reference expected = accumulate(whole, parts);
  for (auto& [name, gradient] : expected.gradients) gradient *= 2.0;
  on_mesh("pipeline=2", [&](Mesh& mesh) {
    const Plan plan = plan_of(config, 2, 2, {"1f1b", 1});
    ar::Model model = fresh_double(config);
    Pipeline pipeline(mesh.along("pipeline"), config, plan);
    (void)pipeline.train(model, parts);
    const at::Tensor losses = pipeline.train(model, parts);
    expect_equal(losses, stage_parameters(model, plan, mesh.along("pipeline").rank()), expected,
                 1e-10);
  });
}

TEST(PipelineTest, AFrozenEncoderStaysAsItIs) {
  const ar::Config config = deep_parti();
  const auto parts = micro_batches(lesson(config, 4), 2, kDouble);
  const auto freeze = [](ar::Model& model) {
    for (const Parameter& p : ar::parameters(model)) {
      if (p.name.starts_with("encoder.") || p.name.starts_with("text_")) {
        p.tensor->requires_grad_(false);
      }
    }
  };
  ar::Model whole = fresh_double(config);
  const Reference expected = accumulate(whole, parts);
  on_mesh("pipeline=2", [&](Mesh& mesh) {
    const Plan plan = plan_of(config, 2, 2, {"gpipe", 1});
    ar::Model model = fresh_double(config);
    freeze(model);
    Pipeline pipeline(mesh.along("pipeline"), config, plan);
    const at::Tensor losses = pipeline.train(model, parts);
    ParameterList held = stage_parameters(model, plan, mesh.along("pipeline").rank());
    for (const Parameter& p : held) {
      EXPECT_TRUE(p.tensor->requires_grad() || !p.tensor->grad().defined()) << p.name;
    }
    std::erase_if(held, [](const Parameter& p) { return !p.tensor->requires_grad(); });
    expect_equal(losses, held, expected, 1e-10);
  });
}

TEST(PipelineTest, EvaluationGivesTheLossesWithoutGradient) {
  for (const ar::Config& config : {deep_parti(), deep_vim()}) {
    ar::Model whole = fresh_double(config);
    const auto parts = micro_batches(lesson(config, 6), 3, kDouble);
    const Reference expected = accumulate(whole, parts);
    on_mesh("pipeline=4", [&](Mesh& mesh) {
      for (const auto& schedule : schedules()) {
        const Plan plan = plan_of(config, 4, 3, schedule);
        ar::Model model = fresh_double(config);
        Pipeline pipeline(mesh.along("pipeline"), config, plan);
        expect_equal(pipeline.evaluate(model, parts), {}, expected, 1e-10);
        for (const Parameter& p : ar::parameters(model)) EXPECT_FALSE(p.tensor->grad().defined());
        EXPECT_EQ(pipeline.live(Stack::kDecoder).pairs, 0);
      }
    });
  }
}

// Every other block's feed-forward layer is a mixture: its choices are made where it lies, its auxiliary loss is learnt there.
TEST(PipelineTest, ExpertsLearnFromTheirAuxiliaryLoss) {
  for (const char* const routing : {"token", "task"}) {
    ar::Config config = tiny_experts(routing);
    config.depth = 4;
    config.auxiliary_weight = 0.5;
    ar::Model whole = fresh_double(config);
    const ParameterList all = ar::parameters(whole);
    ar::ForwardOptions options = kDouble;
    options.dropout = 0.1;
    options.seed = 9;
    std::vector<MicroBatch> parts = micro_batches(lesson(config, 6), 3, options);
    Reference expected;
    std::vector<ar::ExpertRecord> records(parts.size());
    for (size_t m = 0; m < parts.size(); ++m) {
      parts[m].options.experts = &records[m];
      const at::Tensor loss = loss_of(whole, parts[m]);
      ((loss + config.auxiliary_weight * records[m].auxiliary) / 3.0).backward();
      expected.losses.push_back(loss.item<double>());
    }
    for (const Parameter& p : all) {
      if (p.tensor->grad().defined()) expected.gradients[p.name] = p.tensor->grad().clone();
    }
    on_mesh("pipeline=2", [&](Mesh& mesh) {
      Group& group = mesh.along("pipeline");
      for (const auto& schedule : schedules()) {
        for (const bool rematerialize : {false, true}) {
          ar::Model model = fresh_double(config);
          Plan plan = plan_of(config, 2, 3, schedule);
          plan.rematerialize = rematerialize;
          keep_stage(model, plan, group.rank());
          ParameterList held = stage_parameters(model, plan, group.rank());
          std::vector<ar::ExpertRecord> own(3);
          std::vector<MicroBatch> given = parts;
          for (size_t m = 0; m < given.size(); ++m) given[m].options.experts = &own[m];
          Pipeline pipeline(group, config, plan);
          const at::Tensor losses = pipeline.train(model, given);
          std::erase_if(held, [&](const Parameter& p) {
            return !expected.gradients.contains(p.name) && !p.tensor->grad().defined();
          });
          expect_equal(losses, held, expected, 1e-10);
          for (size_t m = 0; m < own.size(); ++m) {
            EXPECT_LT(relative_difference(own[m].auxiliary, records[m].auxiliary.detach()), 1e-10);
            // Layers of experts: block 1 of the encoder, 1 and 3 of the decoder.
            at::Tensor layers = at::full({}, std::ssize(own[m].chosen), at::kLong);
            group.all_reduce(layers);
            EXPECT_EQ(layers.item<int64_t>(), 3);
          }
        }
      }
    });
  }
}

// The pipeline's group is not the world: two pipelines, each with half of the rows.
TEST(PipelineTest, BesideTheDataAxis) {
  const ar::Config config = deep_parti();
  ar::Model whole = fresh_double(config);
  ar::ForwardOptions options = kDouble;
  options.dropout = 0.1;
  const ar::Lesson batch = lesson(config, 8);
  const Reference expected = accumulate(whole, {{batch, options}});
  on_mesh("data=2,pipeline=2", [&](Mesh& mesh) {
    for (const auto& schedule : schedules()) {
      Group &data = mesh.along("data"), &group = mesh.along("pipeline");
      const Plan plan = even_plan(config, mesh.shape(), 8, 2, schedule.first, schedule.second);
      ar::Model model = fresh_double(config);
      keep_stage(model, plan, group.rank());
      ar::ForwardOptions own = options;
      own.first_row = 4 * data.rank();
      own.text_tokens = batch.condition.lengths.max().item<int64_t>();
      Pipeline pipeline(group, config, plan);
      at::Tensor loss =
          pipeline.train(model, micro_batches(ar::rows_of(batch, own.first_row, 4), 2, own)).mean();
      data.all_reduce(loss);
      const ParameterList held = stage_parameters(model, plan, group.rank());
      for (const Parameter& p : held) {
        at::Tensor gradient = p.tensor->grad().contiguous();
        data.all_reduce(gradient);
        p.tensor->mutable_grad() = gradient / 2.0;
      }
      expect_equal(loss.unsqueeze(0) / 2.0, held, expected, 1e-10);
    }
  });
}

TEST(PipelineTest, WrongArgumentsAreNamed) {
  const ar::Config config = deep_vim();
  Mesh mesh;
  Group& one = mesh.along("pipeline");
  const Plan plan = plan_of(config, 1, 2, {"gpipe", 1});
  expect_error(ErrorKind::kUsage, "expected 2 ranks along axis pipeline, got 1", [&] {
    Pipeline(one, config, plan_of(config, 2, 2, {"gpipe", 1}));
  });
  expect_error(ErrorKind::kUsage, "another model", [&] { Pipeline(one, deep_parti(), plan); });
  const ar::Model model = fresh_double(config);
  Pipeline pipeline(one, config, plan);
  const auto three = micro_batches(lesson(config, 3), 3, kDouble);
  expect_error(ErrorKind::kUsage, "Pipeline::train: expected 2 micro-batches, got 3",
               [&] { (void)pipeline.train(model, three); });
  auto bad = micro_batches(lesson(config, 2), 2, kDouble);
  bad[1].lesson.tokens = bad[1].lesson.tokens.narrow(1, 0, 29);
  expect_error(ErrorKind::kUsage, "Pipeline::evaluate: expected 30 tokens a picture, got 29",
               [&] { (void)pipeline.evaluate(model, bad); });
  expect_error(ErrorKind::kUsage, "expected 3 rows to divide into micro-batches, got 2",
               [&] { (void)micro_batches(lesson(config, 3), 2, kDouble); });
}

}  // namespace
}  // namespace lexel::parallel
