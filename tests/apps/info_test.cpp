#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "kernels/machine.h"
#include "tests/apps/programs_fixture.h"

namespace lexel::tests {
namespace {

using ::testing::HasSubstr;

class Info : public ProgramsTest {};

TEST_F(Info, ExplainsAModelFile) {
  const ProgramResult result = lexel({"info", model()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("model file: vit_vqgan"));
  EXPECT_THAT(result.out, HasSubstr("codebook_size: 32"));
}

TEST_F(Info, ExplainsATokenFile) {
  write_image(path("a.png"), sample_image(40, 30));
  ASSERT_EQ(img2tok({path("a.png"), path("a.safetensors")}).exit_code, 0);
  const ProgramResult result = lexel({"info", "--json", path("a.safetensors")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["what"], "token file");
  EXPECT_EQ(json["pictures"], 1);
  EXPECT_EQ(json["tokens"], 16);
  EXPECT_THAT(json["first pictures"][0].get<std::string>(), HasSubstr("40x30"));
}

TEST_F(Info, ExplainsAPicture) {
  write_image(path("a.png"), sample_image(40, 30));
  const ProgramResult result = lexel({"info", path("a.png")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("40x30"));
}

TEST_F(Info, ExplainsTheMachine) {
  const ProgramResult result = lexel({"info", "--machine", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["what"], "this machine");
  EXPECT_NE(json["cpu"], "");
  EXPECT_EQ(json["in use"]["vectors"], kernels::machine().vectors);
  EXPECT_EQ(json["in use"]["bfloat16 dot products"], kernels::machine().bf16_dot);
  EXPECT_EQ(json["kernels"].size(), kernels::kernel_paths().size());
  for (const kernels::KernelPath& path : kernels::kernel_paths()) {
    EXPECT_EQ(json["kernels"][path.kernel], path.path);
  }
  const ProgramResult words = lexel({"info", "--machine"});
  EXPECT_THAT(words.out, HasSubstr("vectors: " + kernels::machine().vectors));
  EXPECT_THAT(words.out, HasSubstr("CUDA plugin: "));
}

TEST_F(Info, TakesFilesOrTheMachine) {
  expect_failure(lexel({"info", "--machine", model()}), 2, "excludes");
}

}  // namespace
}  // namespace lexel::tests
