#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <limits>
#include <nlohmann/json.hpp>

#include "apps/train/recipe_fields.h"
#include "apps/train/task.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/model_file.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::TemporaryFolder;

struct LineRecipe {
  TaskSchedule schedule;
  double slope = 2.0;  // what is to be learnt
};

template <class AnyRecipe, class Visitor>
void visit_fields(AnyRecipe& r, Visitor&& visitor) {
  visit_fields(r.schedule, visitor);
  visitor(std::string("slope"), r.slope);
}

/// Learns a 3 x 3 matrix that is `slope` times the identity, with its bias, from points that depend on seed and number.
class LineTask : public Task {
 public:
  explicit LineTask(const LineRecipe& recipe) : recipe_(recipe) {
    initialise(parameters(), uint64_t(recipe.schedule.seed), at::kCPU);
  }
  std::string kind() const override { return "line"; }
  std::string recipe() const override { return recipe_fields::write(recipe_); }
  const TaskSchedule& schedule() const override { return recipe_.schedule; }
  ParameterList parameters() override {
    return {{"weight", {3, 3}, Init::normal(0.1), &weight_},
            {"bias", {3}, Init::ones(), &bias_, "", /*decay=*/false}};
  }
  TaskLoss loss(int64_t number, double) override {
    numbers.push_back(number);
    if (int64_t(numbers.size()) == signal_at) std::raise(SIGTERM);
    if (int64_t(numbers.size()) == fail_at) throw Error(ErrorKind::kInternal, "power cut");
    at::Tensor points = tests::random_tensor(
        uint64_t(recipe_.schedule.seed) * 1000003 + uint64_t(number), {recipe_.schedule.batch, 3});
    at::Tensor error = at::linear(points, weight_, bias_) - points * recipe_.slope;
    if (number == not_finite_at) error = error * std::numeric_limits<float>::infinity();
    const at::Tensor loss = error.square().mean();
    return {loss, {{"largest", error.detach().abs().max()}}};
  }
  TaskEvaluation evaluate(int64_t) override {
    const double off = (weight_ - recipe_.slope * at::eye(3)).abs().max().item<double>();
    TaskEvaluation result;
    result.metrics = {{"off/weight", off}, {"off/bias", bias_.abs().max().item<double>()}};
    result.score = -off;
    result.samples = at::full({3, 3, 8, 8}, 0.5f);
    result.captions = {"a <grey> square", "another", "the last"};
    evaluated.push_back(weight_.detach().clone());
    return result;
  }
  void write_model(const std::string& path, const std::string& provenance) override {
    ModelFile file{"line", "{}", "{}", provenance, "none", {}};
    file.tensors = named_tensors(parameters());
    write_model_file(path, file);
  }
  std::string data_provenance() const override {
    return "{\"fingerprint\": \"" + fingerprint + "\"}";
  }

  std::string fingerprint = "points";
  int64_t signal_at = -1, fail_at = -1, not_finite_at = -1;
  std::vector<int64_t> numbers;
  std::vector<at::Tensor> evaluated;

 private:
  LineRecipe recipe_;
  at::Tensor weight_, bias_;
};

class RunTask : public testing::Test {
 protected:
  RunTask() {
    recipe_.schedule.steps = 30;
    recipe_.schedule.batch = 4;
    recipe_.schedule.learning_rate = 0.1;
    recipe_.schedule.warmup_steps = 3;
    recipe_.schedule.weight_decay = 0.0;
    recipe_.schedule.average = 0.9;
    recipe_.schedule.eval_steps = 10;
    recipe_.schedule.log_every = 1;
  }
  RunOptions options(const std::string& name, bool resume = false) const {
    return {
        .output = (folder_ / name).string(), .resume = resume, .command = "a test", .quiet = true};
  }
  std::vector<nlohmann::json> lines(const std::string& name, const std::string& type) const {
    std::vector<nlohmann::json> result;
    std::ifstream in(folder_ / name / "metrics.jsonl");
    for (std::string line; std::getline(in, line);) {
      auto json = nlohmann::json::parse(line, nullptr, false);
      if (json.is_object() && json.value("type", "") == type) result.push_back(std::move(json));
    }
    return result;
  }
  std::map<std::string, at::Tensor> checkpoint(const std::string& name) const {
    return read_model_file((folder_ / name / "checkpoint.safetensors").string()).tensors;
  }
  void expect_same_end(const std::string& a, const std::string& b) const {
    const auto one = checkpoint(a), other = checkpoint(b);
    ASSERT_EQ(one.size(), other.size());
    for (const auto& [name, tensor] : one) EXPECT_TRUE(tensor.equal(other.at(name))) << name;
    EXPECT_EQ(lines(a, "step").size(), lines(b, "step").size());
    EXPECT_EQ(lines(a, "step").back()["losses"], lines(b, "step").back()["losses"]);
  }

  TemporaryFolder folder_;
  LineRecipe recipe_;
};

TEST_F(RunTask, LearnsAndLeavesModelReportAndLog) {
  recipe_.schedule.steps = 200;
  recipe_.schedule.eval_steps = 50;
  LineTask task(recipe_);
  run_task(task, options("run"));
  const auto evaluations = lines("run", "eval");
  ASSERT_EQ(evaluations.size(), 5u);
  EXPECT_GT(evaluations[0]["metrics"]["off/weight"].get<double>(), 1.0);
  EXPECT_LT(evaluations[4]["metrics"]["off/weight"].get<double>(), 0.05);
  const auto steps = lines("run", "step");
  ASSERT_EQ(steps.size(), 200u);
  for (const char* key : {"progress", "time_s", "rate", "gradient_norm", "pictures_per_s",
                          "waiting", "forward", "backward", "optimizer"}) {
    EXPECT_TRUE(steps.back()[key].is_number()) << key;
  }
  EXPECT_TRUE(steps.back()["losses"]["largest"].is_number());

  const ModelFile model = read_model_file((folder_ / "run" / "model.safetensors").string());
  const auto provenance = nlohmann::json::parse(model.provenance);
  EXPECT_EQ(provenance["command"], "a test");
  EXPECT_EQ(provenance["pictures"], 800);
  EXPECT_EQ(provenance["recipe"]["slope"], 2.0);
  EXPECT_EQ(provenance["data"]["fingerprint"], "points");
  EXPECT_TRUE(provenance["metrics"]["metrics"]["off/bias"].is_number());
  EXPECT_TRUE(model.tensors.at("weight").equal(task.evaluated.back()));  // the averaged weights

  const auto bytes = read_file((folder_ / "run" / "report.html").string(), 1 << 24);
  const std::string html(bytes.begin(), bytes.end());
  EXPECT_NE(html.find("off, held out"), std::string::npos);
  EXPECT_NE(html.find("a &lt;grey> square"), std::string::npos);
  EXPECT_NE(html.find("data:image/png;base64,iVBOR"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run" / "samples" / "150.png"));
}

TEST_F(RunTask, KeepsTheBestModelNotTheLast) {
  recipe_.schedule.learning_rate = 0.5;
  recipe_.schedule.final_rate = 1.0;
  recipe_.schedule.average = 0.0;
  recipe_.schedule.eval_steps = 3;
  LineTask task(recipe_);
  run_task(task, options("run"));
  size_t best = 0;
  const auto evaluations = lines("run", "eval");
  for (size_t i = 1; i < evaluations.size(); ++i) {
    if (evaluations[i]["score"] > evaluations[best]["score"]) best = i;
  }
  const auto kept = read_model_file((folder_ / "run" / "best.safetensors").string());
  EXPECT_TRUE(kept.tensors.at("weight").equal(task.evaluated[best]));
}

TEST_F(RunTask, ResumedAfterASignalIsTheUninterruptedRunBitForBit) {
  for (const char* optimizer : {"adamw", "adafactor", "adafactor_int8"}) {
    SCOPED_TRACE(optimizer);
    recipe_.schedule.optimizer = optimizer;
    recipe_.schedule.epsilon = optimizer == std::string("adamw") ? 1e-8 : 1e-30;
    recipe_.schedule.accumulation = 2;
    const std::string straight = std::string("straight-") + optimizer;
    const std::string stopped = std::string("stopped-") + optimizer;
    LineTask whole(recipe_);
    run_task(whole, options(straight));

    LineTask first(recipe_);
    first.signal_at = 25;  // within step 13
    run_task(first, options(stopped));
    EXPECT_EQ(lines(stopped, "step").size(), 13u);
    EXPECT_FALSE(std::filesystem::exists(folder_ / stopped / "model.safetensors"));
    LineTask second(recipe_);
    run_task(second, options(stopped, /*resume=*/true));
    EXPECT_EQ(second.numbers.front(), 26);
    expect_same_end(straight, stopped);
  }
}

TEST_F(RunTask, KilledBetweenCheckpointsGoesOnFromTheLast) {
  LineTask whole(recipe_);
  run_task(whole, options("straight"));
  recipe_.schedule.checkpoint_minutes = 1e-9;  // after each step
  LineTask first(recipe_);
  first.fail_at = 18;
  expect_error(ErrorKind::kInternal, "power cut", [&] { run_task(first, options("killed")); });
  LineTask second(recipe_);
  run_task(second, options("killed", true));
  EXPECT_EQ(second.numbers.front(), 17);
  expect_same_end("straight", "killed");
}

TEST_F(RunTask, AccumulationIsOneStepOfTheMeanOfItsParts) {
  recipe_.schedule.steps = 1;
  recipe_.schedule.accumulation = 2;
  LineTask task(recipe_);
  run_task(task, options("run"));
  EXPECT_EQ(task.numbers, (std::vector<int64_t>{0, 1}));
  LineTask alone(recipe_);
  const double mean =
      0.5 * (alone.loss(0, 0).loss.item<double>() + alone.loss(1, 0).loss.item<double>());
  EXPECT_NEAR(lines("run", "step")[0]["losses"]["loss"].get<double>(), mean, 1e-6);
}

TEST_F(RunTask, LossThatIsNotFiniteNamesStepAndTermAndKeepsTheCheckpoint) {
  LineTask task(recipe_);
  task.not_finite_at = 7;
  expect_error(ErrorKind::kBadData, "step 8: the loss term 'largest' is not finite",
               [&] { run_task(task, options("run")); });
  EXPECT_EQ(checkpoint("run").count("weights/weight"), 1u);
}

TEST_F(RunTask, ExplosionNamesTheStep) {
  recipe_.schedule.steps = 1000;
  recipe_.schedule.optimizer = "adafactor";
  recipe_.schedule.epsilon = 1e-30;
  recipe_.schedule.learning_rate = 1e-6;
  recipe_.schedule.warmup_steps = 0;
  struct Exploding : LineTask {
    using LineTask::LineTask;
    TaskLoss loss(int64_t number, double progress) override {
      TaskLoss pass = LineTask::loss(number, progress);
      if (number == 60) pass.loss = pass.loss * 1e6;
      return pass;
    }
  } task(recipe_);
  expect_error(ErrorKind::kBadData, "step 61: the loss exploded to",
               [&] { run_task(task, options("run")); });
}

TEST_F(RunTask, MinutesEndTheRunWithItsProgressNearOne) {
  recipe_.schedule.steps = 0;
  recipe_.schedule.minutes = 0.01;
  recipe_.schedule.eval_steps = 0;
  recipe_.schedule.eval_minutes = 0.004;
  LineTask task(recipe_);
  run_task(task, options("run"));
  EXPECT_GT(lines("run", "step").back()["progress"].get<double>(), 0.5);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run" / "model.safetensors"));
}

TEST_F(RunTask, ResumeRefusesAnotherRecipeOtherDataAnotherKind) {
  recipe_.schedule.steps = 2;
  LineTask task(recipe_);
  run_task(task, options("run"));
  LineRecipe other = recipe_;
  other.slope = 3.0;
  LineTask steeper(other);
  expect_error(ErrorKind::kUsage, "slope is 3.0, was 2.0",
               [&] { run_task(steeper, options("run", true)); });
  other = recipe_;
  other.schedule.batch = 5;
  LineTask wider(other);
  expect_error(ErrorKind::kUsage, "batch is 5, was 4",
               [&] { run_task(wider, options("run", true)); });
  LineTask elsewhere(recipe_);
  elsewhere.fingerprint = "others";
  expect_error(ErrorKind::kUsage, "the data is not that of the checkpoint",
               [&] { run_task(elsewhere, options("run", true)); });
  struct Curve : LineTask {
    using LineTask::LineTask;
    std::string kind() const override { return "curve"; }
  } curve(recipe_);
  expect_error(ErrorKind::kUsage, "is of a line's training",
               [&] { run_task(curve, options("run", true)); });
  LineTask nothing(recipe_);
  expect_error(ErrorKind::kIo, "checkpoint.safetensors",
               [&] { run_task(nothing, options("none", true)); });
}

TEST_F(RunTask, ResumeMayGoOnLongerAndSlower) {
  recipe_.schedule.steps = 2;
  LineTask task(recipe_);
  run_task(task, options("run"));
  recipe_.schedule.steps = 5;
  recipe_.schedule.learning_rate = 0.01;
  LineTask longer(recipe_);
  run_task(longer, options("run", true));
  EXPECT_EQ(lines("run", "step").size(), 5u);
}

TEST_F(RunTask, ResumedWithAnotherLengthFollowsItsSchedule) {
  recipe_.schedule.eval_steps = 0;
  LineTask task(recipe_);
  run_task(task, options("run"));  // 30 of 30 steps
  recipe_.schedule.steps = 0;
  recipe_.schedule.minutes = 0.05;
  LineTask longer(recipe_);
  run_task(longer, options("run", true));
  const auto steps = lines("run", "step");
  ASSERT_GT(steps.size(), 30u);
  EXPECT_GT(steps[29]["progress"], 0.9);
  EXPECT_LT(steps[30]["progress"], 0.9);  // the time so far, of the new one
  EXPECT_GT(steps[30]["rate"], steps[29]["rate"]);
  EXPECT_GE(steps.back()["progress"], steps[30]["progress"]);
}

TEST(TaskSchedule, NamesTheFieldThatCannotBe) {
  const auto expect = [](const std::string& message, const auto& change) {
    TaskSchedule schedule;
    schedule.steps = 1;
    change(schedule);
    expect_error(ErrorKind::kUsage, message, [&] { validate(schedule); });
  };
  expect("steps or minutes above 0", [](TaskSchedule& s) { s.steps = 0; });
  expect("batch: expected 1..65536, got 0", [](TaskSchedule& s) { s.batch = 0; });
  expect("optimizer: expected", [](TaskSchedule& s) { s.optimizer = "sgd"; });
  expect("epsilon: expected at most 1e-16", [](TaskSchedule& s) { s.optimizer = "adafactor"; });
  expect("decay: expected cosine or exponential", [](TaskSchedule& s) { s.decay = "linear"; });
  expect("final_rate: expected above 0", [](TaskSchedule& s) {
    s.decay = "exponential";
    s.final_rate = 0.0;
  });
  expect("decay_start: expected", [](TaskSchedule& s) { s.decay_start = 1.0; });
  expect("compute: expected", [](TaskSchedule& s) { s.compute = "fp8"; });
}

TEST(TaskSchedule, RateIsWarmedUpConstantThenDecays) {
  TaskSchedule s;
  s.learning_rate = 2.0;
  s.warmup_steps = 10;
  s.decay = "exponential";
  s.decay_start = 0.2;
  s.final_rate = 0.01;
  EXPECT_NEAR(learning_rate(s, 4, 0.0), 1.0, 1e-12);
  EXPECT_NEAR(learning_rate(s, 50, 0.2), 2.0, 1e-12);
  EXPECT_NEAR(learning_rate(s, 50, 0.6), 0.2, 1e-12);  // half of the decay: the root of 0.01
  EXPECT_NEAR(learning_rate(s, 50, 1.0), 0.02, 1e-12);
  s.decay = "cosine";
  EXPECT_NEAR(learning_rate(s, 50, 0.6), 2.0 * (0.01 + 0.99 * 0.5), 1e-12);
}

}  // namespace
}  // namespace lexel::train
