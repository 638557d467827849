// Pipeline and tensor axis together, beside a data axis.
#include "autoregressive/parallel/pipeline.h"
#include "autoregressive/parallel/sharded_model.h"
#include "autoregressive/parallel/sharded_runner.h"
#include "tests/autoregressive/parallel/pipeline_cases.h"
#include "tests/autoregressive/parallel/split_model.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using namespace tests;  // NOLINT: cases and ranks

constexpr int64_t kBatch = 4;

/// Heads and hidden units that divide by two, four blocks a stack.
ar::Config config_of(const ar::Config& split) {
  ar::Config config = split;
  if (config.text_depth > 0) config.text_depth = 2;
  config.depth = 4;
  return config;
}

/// One rank's part of a step under `plan` and the form's annotations, beside one rank that has all.
void compare(Mesh& mesh, const ar::Config& config, const Form& form, const ar::Lesson& batch,
             const ar::ForwardOptions& options, const Reference& expected,
             const std::pair<std::string, int64_t>& schedule) {
  Group &data = mesh.along("data"), &group = mesh.along("pipeline");
  Plan plan = even_plan(config, mesh.shape(), kBatch, 2, schedule.first, schedule.second);
  plan.rematerialize = schedule.first == "1f1b";
  const Sharding sharding = propagate(config, form.annotations(config), mesh.shape());
  const ShardedRunner runner(sharding, mesh);
  ar::Model model = shard(fresh_double(config), sharding, mesh);
  keep_stage(model, plan, group.rank());
  const ParameterList held = stage_parameters(model, plan, group.rank());
  require_gradients(held, true);

  const int64_t rows = kBatch / data.size();
  ar::ForwardOptions own = options;
  own.runner = &runner;
  own.first_row = rows * data.rank();
  if (config.text_depth > 0) own.text_tokens = batch.condition.lengths.max().item<int64_t>();
  Pipeline pipeline(group, config, plan);
  at::Tensor loss =
      pipeline.train(model, micro_batches(ar::rows_of(batch, own.first_row, rows), 2, own)).mean();
  data.all_reduce(loss);
  EXPECT_NEAR(loss.item<double>() / static_cast<double>(data.size()), expected.losses[0], 1e-10);
  for (const Parameter& p : held) {
    ASSERT_TRUE(p.tensor->grad().defined()) << p.name;
    at::Tensor gradient = p.tensor->grad().contiguous();
    data.all_reduce(gradient);
    const at::Tensor whole =
        gather_whole(gradient / static_cast<double>(data.size()), p.name, sharding, mesh);
    EXPECT_LT(relative_difference(whole, expected.gradients.at(p.name)), 1e-10) << p.name;
  }
}

void expect_one_model(const ar::Config& config, const char* shape) {
  ar::ForwardOptions options = kDouble;
  options.dropout = 0.1;
  options.seed = 11;
  ar::Model whole = fresh_double(config);
  const ar::Lesson batch = lesson(config, kBatch);
  const Reference expected = accumulate(whole, {{batch, options}});
  on_mesh(shape, [&](Mesh& mesh) {
    for (const Form& form : forms()) {
      for (const auto& schedule : schedules()) {
        SCOPED_TRACE(lexel::concat(form.name, " ", schedule.first));
        compare(mesh, config, form, batch, options, expected, schedule);
      }
    }
  });
}

TEST(PipelineShardedTest, TextModelInStagesOfPartsEqualsOneRank) {
  expect_one_model(config_of(split_parti()), "pipeline=2,tensor=2");
}

TEST(PipelineShardedTest, VimInStagesOfPartsEqualsOneRank) {
  expect_one_model(config_of(split_vim()), "pipeline=2,tensor=2");
}

TEST(PipelineShardedTest, ThreeAxesEqualOneRank) {
  expect_one_model(config_of(split_parti()), "data=2,pipeline=2,tensor=2");
}

}  // namespace
}  // namespace lexel::parallel
