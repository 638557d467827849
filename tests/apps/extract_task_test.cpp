#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "autoregressive/generator_file.h"
#include "tests/apps/programs_fixture.h"
#include "tests/autoregressive/tiny_model.h"

namespace lexel::tests {
namespace {

using ::testing::HasSubstr;

/// A generator without text: two tasks, classes.
ar::Generator tiny_generator(const std::string& routing) {
  ar::Config config = tiny_vim();
  config.conv_layers = "";
  config.experts = 4;
  config.routing = routing;
  config.tasks = routing == "task" ? 2 : 0;
  ar::Generator generator;
  generator.model = ar::make_model(config, 1, at::kCPU);
  generator.codebook_fingerprint = std::string(64, 'a');
  return generator;
}

class ExtractTask : public ProgramsTest {
 protected:
  void write(const std::string& name, const ar::Generator& generator) const {
    write_model_file(path(name),
                     ar::generator_file(generator, ar::Stored::kFloat32, "{\"steps\":7}", "MIT"));
  }
};

TEST_F(ExtractTask, WritesADenseModelWithTheOutputOfTheWhole) {
  const ar::Generator whole = tiny_generator("task");
  write("moe", whole);
  const ProgramResult result =
      lexel({"extract-task", "--model", path("moe"), "--task", "1", "-o", path("dense")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("task 1, "));

  const ModelFile file = read_model_file(path("dense"));
  EXPECT_EQ(file.license, "MIT");
  EXPECT_EQ(nlohmann::json::parse(file.provenance),
            nlohmann::json::parse("{\"task\":1,\"from\":{\"steps\":7}}"));
  for (const auto& [name, tensor] : file.tensors) {
    EXPECT_THAT(name, testing::Not(HasSubstr("experts"))) << name;
  }
  const ar::Generator dense = ar::read_generator(file, "dense", at::kCPU);
  EXPECT_EQ(dense.codebook_fingerprint, whole.codebook_fingerprint);
  const ar::Config& config = whole.model.config;
  ar::Condition condition = tiny_condition(config, 2);
  const at::Tensor tokens = tiny_tokens(config, 2);
  condition.tasks = at::full({2}, 1, at::kLong);
  const at::Tensor wanted = ar::logits(whole.model, condition, tokens);
  condition.tasks = at::Tensor();
  EXPECT_LT(relative_difference(ar::logits(dense.model, condition, tokens), wanted), 1e-6);
}

TEST_F(ExtractTask, SaysWhatCannotBe) {
  write("moe", tiny_generator("task"));
  write("token", tiny_generator("token"));
  const auto extract = [&](const std::string& model, const std::string& task) {
    return lexel({"extract-task", "--model", path(model), "--task", task, "-o", path("out")});
  };
  expect_failure(extract("moe", "2"), 2, "expected a task in 0 to 1, got 2");
  expect_failure(extract("token", "0"), 2, "routed by task, got routing token");
  expect_failure(extract("none", "0"), 4, "none");
  expect_failure(lexel({"extract-task", "--model", path("moe"), "-o", path("out")}), 2, "--task");
}

}  // namespace
}  // namespace lexel::tests
