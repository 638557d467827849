#include "autoregressive/planner/planner.h"

#include <ctime>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "autoregressive/parallel/annotations.h"
#include "tests/support/expect_error.h"

namespace lexel::planner {
namespace {

/// Four blocks on slow links, so that no axis is free.
Machine small_machine() {
  Machine machine;
  machine.flops = 1e11;
  machine.memory_bytes = 1.2e9;
  machine.memory_bandwidth = 1e10;
  machine.devices_per_node = 4;
  machine.inside = {1e-5, 1e-10};
  machine.between = {1e-4, 1e-9};
  return machine;
}

ar::Config sparse_config() {
  ar::Config config = ar::parti_lexel_128();
  config.heads = 4;
  config.experts = 8;
  return config;
}

ar::Config small_config() {
  ar::Config config = ar::parti_lexel_128();
  config.depth = 8;
  config.heads = 4;
  return config;
}

Training small_training() {
  Training training;
  training.batch = 64;
  training.compute_bytes = 4;
  return training;
}

/// Meshes of so many devices on which this model can lie.
std::vector<parallel::MeshShape> meshes(const ar::Config& config, int64_t devices) {
  std::vector<parallel::MeshShape> all;
  for (int64_t pipeline = 1; pipeline <= std::min(devices, config.depth); ++pipeline)
    for (int64_t tensor = 1; tensor <= devices / pipeline; ++tensor)
      for (int64_t expert = 1; expert <= std::max<int64_t>(config.experts, 1); ++expert) {
        const int64_t data = devices / pipeline / tensor / expert;
        if (data * pipeline * tensor * expert != devices || config.heads % tensor != 0) continue;
        if (expert > 1 && config.experts % expert != 0) continue;
        all.push_back(parallel::parse_mesh(
            concat("data=", data, ",pipeline=", pipeline, ",expert=", expert, ",tensor=", tensor)));
      }
  return all;
}

/// The best of every mesh by hand, over micro-batches, schedules, rematerialisation and residual streams.
double best_of_grid(const Predictor& predictor, int64_t devices) {
  const ar::Config& config = predictor.graph().config;
  double best = 1e300;
  for (const parallel::MeshShape& mesh : meshes(config, devices)) {
    const int64_t pipeline = mesh.length("pipeline");
    for (int64_t micro_batches = 1; micro_batches <= 64; micro_batches *= 2) {
      if (64 % (mesh.length("data") * mesh.length("expert") * micro_batches) != 0) continue;
      for (const char* schedule : {"gpipe", "1f1b", "circular"}) {
        const int64_t rounds = schedule == std::string("circular") ? 2 : 1;
        if (pipeline * rounds > config.depth || (rounds > 1 && micro_batches % pipeline)) continue;
        parallel::Plan plan =
            parallel::even_plan(config, mesh, 64, micro_batches, schedule, rounds);
        for (const bool rematerialize : {false, true}) {
          for (const char* residual : {"replicate", "split"}) {
            plan.rematerialize = rematerialize;
            plan.residual = residual;
            if (predictor.memory(plan) > predictor.machine().memory_bytes) continue;
            best = std::min(best, predictor.predict(plan).step_s);
          }
        }
      }
    }
  }
  return best;
}

TEST(Planner, BeatsOrEqualsTheBestOfAGridByHand) {
  for (const double memory : {0.25e9, 0.6e9, 80e9}) {
    Machine machine = small_machine();
    machine.memory_bytes = memory;
    const Predictor predictor(small_config(), machine, small_training());
    for (const int64_t devices : {4, 8}) {
      const double grid = best_of_grid(predictor, devices);
      ASSERT_LT(grid, 1e300) << "the grid fits nowhere in " << memory;
      const PlanSearch found = plan_model(predictor, devices, "small");
      EXPECT_LE(found.plan.predicted.step_s, grid * (1 + 1e-9)) << devices << " of " << memory;
      EXPECT_LE(predictor.memory(found.plan), memory);
      EXPECT_EQ(found.plan.mesh.size(), devices);
      EXPECT_LE(found.least_block_s, found.block_s * (1 + 1e-9));
    }
  }
}

TEST(Planner, BeatsOrEqualsTheBestOfAGridWithExperts) {
  for (const double memory : {0.4e9, 80e9}) {
    Machine machine = small_machine();
    machine.memory_bytes = memory;
    const Predictor predictor(sparse_config(), machine, small_training());
    const double grid = best_of_grid(predictor, 4);
    ASSERT_LT(grid, 1e300) << "the grid fits nowhere in " << memory;
    const PlanSearch found = plan_model(predictor, 4, "sparse");
    EXPECT_LE(found.plan.predicted.step_s, grid * (1 + 1e-9)) << memory;
    EXPECT_LE(predictor.memory(found.plan), memory);
  }
}

TEST(Planner, ExpertsAreSharedOutWhereThatIsFaster) {
  // Wide experts: their gradients over "data" are more than their tokens over "expert".
  ar::Config config = sparse_config();
  config.experts = 64;
  config.depth = 2;
  Machine machine = small_machine();
  machine.flops = 1e13;
  machine.memory_bytes = 80e9;
  Training training = small_training();
  training.batch = 8;
  const Predictor predictor(config, machine, training);
  const PlanSearch found = plan_model(predictor, 8, "sparse");
  EXPECT_GT(found.plan.mesh.length("expert"), 1) << to_text(found.plan.mesh);
  check_plan(found.plan, config);
  const auto sharding = parallel::sharding_of(config, found.plan);
  EXPECT_TRUE(sharding.weight("decoder.blocks.1.feed_forward.experts.up.weight") ==
              parallel::Placement::along(0, "expert"));
  const parallel::Plan back = parallel::parse_plan(parallel::plan_text(found.plan), "plan");
  EXPECT_EQ(to_text(back.mesh), to_text(found.plan.mesh));
  EXPECT_EQ(back.annotations, found.plan.annotations);
  // Experts of one task side by side are no experts to share out.
  config.experts = 2;
  config.routing = "static";
  const Predictor dense(config, machine, training);
  EXPECT_EQ(plan_model(dense, 8, "dense").plan.mesh.length("expert"), 1);
}

TEST(Planner, ThePlanIsOneThatCanRun) {
  const Predictor predictor(small_config(), small_machine(), small_training());
  for (const int64_t devices : {1, 2, 4, 6, 8, 16}) {
    const parallel::Plan plan = plan_model(predictor, devices, "small").plan;
    check_plan(plan, small_config());
    EXPECT_NO_THROW(parallel::sharding_of(small_config(), plan)) << devices;
    const parallel::Plan back = parallel::parse_plan(parallel::plan_text(plan), "plan");
    EXPECT_EQ(back.predicted, plan.predicted);
    EXPECT_DOUBLE_EQ(predictor.predict(back).step_s, plan.predicted.step_s);
  }
}

/// Placements of all weights that annotations give a config on four tensor ranks.
std::map<std::string, parallel::Placement> weights_by(
    const std::vector<parallel::Annotation>& annotations) {
  return parallel::propagate(small_config(), annotations, parallel::parse_mesh("tensor=4")).weights;
}

TEST(Planner, IntegerProgramFindsMegatronsAnnotations) {
  const LayerGraph graph = layer_graph(small_config(), small_training());
  for (const char* residual : {"replicate", "split"}) {
    const IntraLayouts layouts =
        intra_layouts(graph, small_machine(), small_training(), 4, 16, residual);
    EXPECT_TRUE(weights_by(layouts.annotations) == weights_by(parallel::tensor_annotations()))
        << residual;
    EXPECT_TRUE(layouts.cuts_all);
  }
}

TEST(Planner, WhereLinksAreTooSlowTheProgramReplicates) {
  Machine machine = small_machine();
  machine.inside = machine.between = {10, 1e-3};
  const LayerGraph graph = layer_graph(small_config(), small_training());
  const IntraLayouts layouts = intra_layouts(graph, machine, small_training(), 4, 1, "replicate");
  EXPECT_FALSE(layouts.cuts_all);
  // But for the tables, which are cut for their memory.
  for (const parallel::Annotation& annotation : layouts.annotations)
    EXPECT_THAT(annotation.pattern, ::testing::EndsWith("_embedding.weight"));
}

TEST(Planner, WhatFitsNowhereIsRefusedWithTheMemoryThatWouldDo) {
  Machine machine = small_machine();
  machine.memory_bytes = 1e6;
  const Predictor predictor(small_config(), machine, small_training());
  tests::expect_error(ErrorKind::kUsage, "expected devices of at least 0.",
                      [&] { plan_model(predictor, 2, "small"); });
  tests::expect_error(ErrorKind::kUsage, "expected a batch that 67 devices can share",
                      [&] { plan_model(predictor, 67, "small"); });
  tests::expect_error(ErrorKind::kUsage, "at least 1 device",
                      [&] { plan_model(predictor, 0, ""); });
}

TEST(Planner, Parti20bOn1024DevicesInUnderAMinute) {
  const std::clock_t start = std::clock();  // the test's own time: others share the machine
  const Predictor predictor(ar::parti_20b(), h100(), {});
  const PlanSearch found = plan_model(predictor, 1024, "parti-20b");
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 60);
  EXPECT_EQ(found.plan.mesh.size(), 1024);
  EXPECT_LE(predictor.memory(found.plan), 80e9);
  // Faster than the work alone on all devices is impossible; slower than half of it would be a poor plan.
  const double work = 3 * 8192 * predictor.graph().flops() / 1024 / h100().flops;
  EXPECT_GT(found.plan.predicted.step_s, work);
  EXPECT_LT(found.plan.predicted.step_s, 2 * work);
  std::cout << to_text(found.plan.mesh) << " " << found.plan.schedule << " x" << found.plan.rounds
            << " M " << found.plan.micro_batches << ": " << found.plan.predicted.step_s << " s, "
            << found.candidates << " candidates, " << found.predicted << " predicted, in "
            << seconds << " s\n";
}

}  // namespace
}  // namespace lexel::planner
